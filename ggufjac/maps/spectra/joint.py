"""The leading singular triplets of many maps of one space, out of one common subspace of it.

The cumulative maps of neighbouring layers have leading right vectors that lie close together. So one orthonormal basis
W [m, n] serves all of them: a single forward sweep of its rows, seen at every layer, gives A_s W^T for every map A_s
[d, n]. The triplets (u, s, r) of that small matrix give v = r W, for which A_s v = s u holds exactly; what is missing,
A_s^T u - s v, comes from a backward sweep, is orthogonal to W, and tells both how good the triplet is and by which
direction W should grow (the block Davidson method with one subspace for all). Directions that no map needs are
dropped; where W becomes too large it starts anew from the v of the maps that are not done. Measured on 30 layers of a
small model: a third of the columns of a Krylov space for each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ggufjac.maps.spectra.eigen import eigh
from ggufjac.maps.spectra.krylov import NOTHING, block_krylov
from ggufjac.quants.memory.devices import factorable, widened
from ggufjac.quants.memory.threads import kernels_first

#: x [m, n], the numbers of some maps -> A_s x for each of them, [maps, m, d].
Forward: TypeAlias = "Callable[[Tensor, Sequence[int]], Tensor]"
#: y [maps, b, d], the numbers of these maps -> A_s^T y_s, [maps, b, n].
Backward: TypeAlias = "Callable[[Tensor, Sequence[int]], Tensor]"

#: Random columns that show where the maps are large, and others from which norms are estimated.
SKETCH, PROBES = 16, 32
#: Rounds after which triplets are handed out as they are.
ROUNDS = 16
#: Columns beyond k in which the triplets of a small matrix are sought, and how much smaller their residuals must be.
SPARE, FINER = 8, 0.1


@dataclass(frozen=True)
class JointTriplets:
    """A_s ~ sum_i u_i s_i v_i^T for each of S maps.

    u [S, k, d], s [S, k] descending; every u is signed so that u . y >= 0 for the map's output y. kept [S, ...]: what
    was kept of v [k, n] of each map.
    residuals [S, k]: the larger one of ||A v - s u|| and ||A^T u - s v||, over s; infinite where s = 0.
    squared_norms [S]: ||A_s||_F^2, exact within the common subspace and estimated from random probes outside it.
    pulled [S, n]: A_s^T y_s for the output y_s of each map.
    columns: how many columns were sent through a map, forwards and backwards, counting one that serves several once
    per map.
    """

    u: Tensor
    s: Tensor
    kept: Tensor
    residuals: Tensor
    squared_norms: Tensor
    pulled: Tensor
    columns: int


def joint_triplets(
    forward: Forward,
    backward: Backward,
    outputs: Tensor,
    n: int,
    k: int,
    *,
    keep: Callable[[Tensor], Tensor] = lambda v: v,
    tolerance: float = 1e-2,
    limit: int | None = None,
    seed: int = 0,
) -> JointTriplets:
    """The k leading triplets of S maps with the outputs y [S, d] and inputs of n entries.

    Stops when every residual is below `tolerance` (a singular value is then right to about its square), or when nothing
    is left to be gained. keep: what to keep of the right vectors [k, n] of a map, which are large. limit: how many
    vectors of n entries may be held at once (None: any number); 12 k for a map alone and 6 k a map for several do.
    """
    k = min(k, n, outputs.shape[-1])
    with kernels_first():
        return _Search(forward, backward, outputs, n, k, keep, tolerance, limit, seed).run()


class _Search:
    """The basis, the images of its rows under the maps that still need more, and what was found for the others."""

    def __init__(
        self,
        forward: Forward,
        backward: Backward,
        outputs: Tensor,
        n: int,
        k: int,
        keep: Callable[[Tensor], Tensor],
        tolerance: float,
        limit: int | None,
        seed: int,
    ) -> None:
        n_maps, d = outputs.shape
        self.forward, self.backward, self.keep = forward, backward, keep
        self.outputs, self.n, self.k, self.tolerance = outputs, n, k, tolerance
        self.limit = n_maps * n if limit is None else limit
        self.active = list(range(n_maps))
        self.generator = torch.Generator().manual_seed(seed)
        self.columns = 0
        self.u, self.s = outputs.new_zeros(n_maps, k, d), outputs.new_zeros(n_maps, k)
        self.kept = [outputs] * n_maps
        self.residuals = torch.full_like(self.s, torch.inf)
        self.squared_norms = outputs.new_zeros(n_maps)

    def run(self) -> JointTriplets:
        start, pulled = self._start()
        self.basis = _directions(start, None, self.tolerance, self._room())
        self.probes = self._random(PROBES, self.n)
        self.images, self.probed = self._forward(torch.cat((self.basis, self.probes))).split(
            [len(self.basis), PROBES], 1
        )
        for _ in range(ROUNDS):
            self._round()
            if not self.active:
                break
        kept = torch.stack(self.kept)
        return JointTriplets(self.u, self.s, kept, self.residuals, self.squared_norms, pulled, self.columns)

    def _start(self) -> tuple[Tensor, Tensor]:
        """Right vectors to begin with [S b, n], from the outputs and from what the maps make of random columns; and
        the outputs pulled back."""
        lengths = self.outputs.norm(dim=-1)
        towards = (self.outputs / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)[:, None])[:, None]
        sketch = self._forward(self._random(SKETCH, self.n))
        sketch = sketch - (sketch @ towards.mT) @ towards
        few = min(max(1, self.k - 1), SKETCH)
        leading = eigh(sketch @ sketch.mT)[1][..., -few:].to(sketch)
        rows = torch.cat((towards, leading.mT @ sketch), 1)[:, : self.outputs.shape[1]]
        # the rows of Q in QR have either sign, and the first one must be the output's
        rows = torch.cat((towards, torch.linalg.qr(factorable(rows.mT)).Q.mT[:, 1:].to(rows)), 1)
        images = self._backward(rows)
        squares, w = (x.to(images) for x in eigh(images @ images.mT))
        scale = torch.where(squares > NOTHING * squares[:, -1:], squares, torch.inf).rsqrt()
        return ((w * scale[:, None]).mT @ images).flatten(0, 1), images[:, 0] * lengths[:, None]

    def _round(self) -> None:
        """The best triplets within the basis; maps whose triplets are good retire, for the others the basis grows."""
        u, s, r, inner = self._ritz()
        missing = self._backward(u)
        for i, number in enumerate(self.active):
            v = r[i] @ self.basis
            missing[i] -= s[i, :, None] * v
            self.kept[number] = self.keep(v)
        over = torch.where(s > 0, s, torch.inf)
        residuals = torch.where(s > 0, torch.maximum(missing.norm(dim=-1) / over, inner), torch.inf)
        self._note(u, s, residuals)
        open_ = ((residuals > self.tolerance) & (s > 0)).any(-1).tolist()
        still = [i for i, more in enumerate(open_) if more]
        wanted = missing[still].flatten(0, 1) / over[still].flatten()[:, None]
        self.active, self.images = [self.active[i] for i in still], self.images[still]
        if self.active:
            self._grow(wanted, r[still].flatten(0, 1))

    def _grow(self, wanted: Tensor, r: Tensor) -> None:
        """The basis with the directions that are wanted [A k, n]; too large a basis starts anew from the right vectors
        that were found, r [A k, m]."""
        if len(self.basis) + len(wanted) > self._room() and len(r) < len(self.basis):
            chosen = _directions(r, None, self.tolerance, len(self.basis))
            self.basis, self.images = chosen @ self.basis, chosen @ self.images
        new = _directions(wanted, self.basis, self.tolerance, self._room() - len(self.basis))
        if not len(new):
            self.active = []
            return
        self.basis = torch.cat((self.basis, new))
        self.images = torch.cat((self.images, self._forward(new)), 1)

    def _ritz(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u, s, r and ||A v - s u|| / s of the leading triplets of the images [maps, m, d]."""
        before, d = self.u[self.active], self.outputs.shape[1]
        fresh = self._random(len(self.active) * (self.k + SPARE), d).unflatten(0, (len(self.active), -1))
        start = torch.cat((before[:, before.abs().sum((0, 2)) > 0], fresh), 1)[:, : self.k + SPARE]
        found = block_krylov(
            lambda x: x @ self.images,
            lambda y: y @ self.images.mT,
            start,
            self.k,
            tolerance=FINER * self.tolerance,
        )
        return found.u, found.s, found.v, found.residuals

    def _note(self, u: Tensor, s: Tensor, residuals: Tensor) -> None:
        """The best that is known of the maps that are active."""
        for i, number in enumerate(self.active):
            sign = torch.where(u[i] @ self.outputs[number] < 0, -1.0, 1.0).to(u)[:, None]
            self.u[number], self.s[number], self.residuals[number] = sign * u[i], s[i], residuals[i]
            outside = self.probed[number] - (self.probes @ self.basis.mT) @ self.images[i]
            self.squared_norms[number] = self.images[i].square().sum() + outside.square().sum() / PROBES

    # --- sweeps -----------------------------------------------------------------------------------------------

    def _forward(self, x: Tensor) -> Tensor:
        self.columns += len(x) * len(self.active)
        return self.forward(x, self.active)

    def _backward(self, y: Tensor) -> Tensor:
        self.columns += y.shape[1] * len(self.active)
        return self.backward(y, self.active)

    def _random(self, *shape: int) -> Tensor:
        """Normal numbers that are the same on every device."""
        return torch.randn(*shape, generator=self.generator, dtype=self.outputs.dtype).to(self.outputs.device)

    def _room(self) -> int:
        """How many rows the basis may have beside three blocks of the active maps' vectors."""
        return max(self.k, min(self.n, self.limit - 3 * self.k * len(self.active)))


def _directions(rows: Tensor, against: Tensor | None, least: float, most: int) -> Tensor:
    """An orthonormal basis [c, n] of what rows [r, n] have beside an orthonormal basis, the strongest directions first.

    Directions shorter than `least` over all rows are left out, and those beyond `most`. Twice, because once loses
    digits.
    """
    for threshold in (least, 0.5):
        if against is not None:
            rows = rows - (rows @ against.mT) @ against
        squares, q = eigh(widened(rows @ rows.mT))
        chosen = torch.nonzero(squares > threshold**2).flatten().flip(0)[: max(0, most)]
        rows = (q[:, chosen] * squares[chosen].rsqrt()).mT.to(rows) @ rows
    return rows
