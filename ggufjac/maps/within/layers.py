"""A network layer by layer at one prompt: the maps to what leaves each block and to what its parts write.

The cumulative map of a place goes from the tokens' vectors to the place, the layerwise one from what enters the layer;
both end at the last position and in the lens, the output norm frozen at the place's own vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families import Family
from ggufjac.maps import sweeps
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import LinearMap
from ggufjac.maps.spectra.joint import JointTriplets, joint_triplets
from ggufjac.maps.within.sites import LAYER, Site, Sites
from ggufjac.maps.within.writes import follow, retrace, write_of, written
from ggufjac.network.forward import build
from ggufjac.operators import Operator, Select, Sequential, built
from ggufjac.quants.memory.budget import Budget, search_columns
from ggufjac.quants.memory.readahead import Readahead
from ggufjac.quants.memory.threads import kernels_first

#: Scores that are kept at a time; bounds the memory of many states over a large vocabulary.
SCORES = 1 << 26
#: Vectors per site and triplet that the search for triplets usually holds, and the fewest that it needs.
USUAL, FEWEST = 6, 12

#: The layer, counted from 0, and the part of it.
LayerPart = tuple[int, str]


@dataclass(frozen=True)
class Spectra:
    """The leading triplets of several places' maps, in the order of the places that were asked for.

    u [S, k, d], s [S, k], residuals [S, k]; every u is signed so that u . y >= 0 for the place's output y, one of
    outputs [S, d]. squared_norms [S] of the whole maps, with `exact` false where random probes estimate them. weights
    [S, k, T]: the share of ||v||^2 that lies at each token (or position).
    """

    outputs: Tensor
    u: Tensor
    s: Tensor
    residuals: Tensor
    squared_norms: Tensor
    weights: Tensor
    exact: bool

    @property
    def stable_ranks(self) -> Tensor:
        """||A||_F^2 / s_1^2 of every map, [S]."""
        return self.squared_norms / self.s[:, 0].square()


@dataclass(frozen=True)
class Direct:
    """What reaches a functional of the output past all later blocks, [m] each, for m functionals.

    writes: of every block, in the order of the network; embedding: of the last token's own vector; constant: what is
    added on the way outside of the blocks. They add up to f . y.
    """

    writes: dict[LayerPart, Tensor]
    embedding: Tensor
    constant: Tensor


class LayerMaps:
    """The layers of a map that was made by `model.linearize`; family: the model's."""

    def __init__(self, family: Family, linear: DetachedMap) -> None:
        self.family = family
        self.linear = linear
        self.forward_pass = linear.forward_pass
        self.n_layer = len(linear.forward_pass.layers)

    @cached_property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """What every layer can be asked for: LAYER, then the names of its parts in order."""
        return tuple((LAYER, *written(built(op))) for op in self.forward_pass.layers)

    def places(self, layers: Sequence[int], parts: Sequence[str]) -> tuple[LayerPart, ...]:
        """The places of these parts in these layers, in the order of the network; layers without a part are left out.

        Raises UserError for a layer or a part that is not there at all.
        """
        for layer in layers:
            if not 0 <= layer < self.n_layer:
                raise UserError(f"there is no layer {layer}; the model has layers 0 to {self.n_layer - 1}")
        known = dict.fromkeys(name for names in self.parts for name in (*names[1:], LAYER))
        for part in parts:
            if part not in known:
                raise UserError(f"no layer of this model has a part {part!r}; it has {', '.join(known)}")
        found = tuple(
            (layer, part)
            for layer in sorted(set(layers))
            for part in known
            if part in parts and part in self.parts[layer]
        )
        if not found:
            raise UserError(f"none of these layers has a part {' or '.join(map(repr, parts))}")
        return found

    # --- places -----------------------------------------------------------------------------------------------

    def sites(self, places: Sequence[LayerPart]) -> tuple[Site, ...]:
        """The sites of some places, in their order. Raises UserError where the lens cannot read what a part writes."""
        values = self._values(places)
        return tuple(self._site(place, values[place]) for place in places)

    def leaving(self) -> Tensor:
        """[L, d]: what leaves every layer at the last position, as the output norm makes it."""
        return torch.stack([site.output for site in self.sites([(layer, LAYER) for layer in range(self.n_layer)])])

    def swept(self, sites: Sequence[Site]) -> Sites:
        """The cumulative maps of sites, served by common sweeps; the deepest one first."""
        return Sites(self.linear.inputs, self.forward_pass.layers, sites, self._budget.beside_search)

    def cumulative(self, layer: int, part: str = LAYER) -> LinearMap:
        """From the tokens' vectors to one place, through the lens."""
        (site,) = self.sites([(layer, part)])
        path = _path(built(self.forward_pass.layers[layer]), part, site.rows, self.linear.device)
        operators = (*self.forward_pass.layers[:layer], path, site.lens)
        return LinearMap(self.linear.inputs, operators, site.output, self.linear.budget)

    def layerwise(self, layer: int, part: str = LAYER) -> LinearMap:
        """From what enters the layer, at every position, to one place of it, through the lens."""
        (site,) = self.sites([(layer, part)])
        return self._own(site)

    def layerwise_maps(self, places: Sequence[LayerPart]) -> Iterator[LinearMap]:
        """The layerwise map of every place, one after the other."""
        return (self._own(site) for site in self.sites(places))

    def lens_logits(self, outputs: Tensor) -> Iterator[Tensor]:
        """What the head makes of outputs [n, d], one row of logits [n_vocab] after the other."""
        step = max(1, SCORES // self.family.n_vocab)
        for piece in outputs.split(step):
            yield from self.family.head.value(self.forward_pass.run.elsewhere(), piece)

    # --- spectra ----------------------------------------------------------------------------------------------

    def spectra(
        self, places: Sequence[LayerPart], k: int = 8, *, tolerance: float = 1e-2, seed: int = 0
    ) -> tuple[Spectra, Tensor]:
        """The k leading triplets of the cumulative maps of some places (in the order of `places`), and what every token
        carries of each place's output, [S, T + 1]: y . J_t x_t / |y|^2, the constants last; every row adds up to 1.

        All places share their sweeps, or as many of them as the budget allows.
        """
        sites = self.sites(places)
        order = sorted(range(len(sites)), key=lambda i: (-sites[i].layer, sites[i].part != LAYER))
        found = [
            self._searched(self.swept([sites[i] for i in group]), k, tolerance, seed)
            for group in self._groups(order, k)
        ]
        back = torch.tensor(order).argsort()

        def joined(pick: Callable[[JointTriplets], Tensor]) -> Tensor:
            return torch.cat([pick(triplets) for triplets, _ in found])[back]

        spectra = Spectra(
            outputs=torch.stack([site.output for site in sites]),
            u=joined(lambda triplets: triplets.u),
            s=joined(lambda triplets: triplets.s),
            residuals=joined(lambda triplets: triplets.residuals),
            squared_norms=joined(lambda triplets: triplets.squared_norms),
            weights=joined(lambda triplets: triplets.kept),
            exact=False,
        )
        return spectra, torch.cat([shares for _, shares in found])[back]

    def _searched(self, swept: Sites, k: int, tolerance: float, seed: int) -> tuple[JointTriplets, Tensor]:
        """The triplets of some sites' cumulative maps, and the shares of their outputs."""
        x = self.linear.inputs
        y = torch.stack([site.output for site in swept.sites])

        def forward(columns: Tensor, which: Sequence[int]) -> Tensor:
            return swept.forward(columns.unflatten(1, x.shape), which)

        def backward(functionals: Tensor, which: Sequence[int]) -> Tensor:
            return swept.backward(functionals, which).flatten(2)

        def at_tokens(v: Tensor) -> Tensor:
            parts: Tensor = v.unflatten(1, x.shape)
            return parts.square().sum(-1)

        found = joint_triplets(
            forward, backward, y, x.numel(), k, keep=at_tokens, tolerance=tolerance, limit=self._held(k), seed=seed
        )
        terms = (found.pulled.unflatten(1, x.shape) * x).sum(-1)
        constants = (y * swept.constants()).sum(-1, keepdim=True)
        return found, torch.cat((terms, constants), 1) / y.square().sum(-1, keepdim=True)

    def layerwise_spectra(
        self, places: Sequence[LayerPart], k: int = 8, *, tolerance: float = 1e-2, seed: int = 0
    ) -> Spectra:
        """The k leading triplets of the layerwise maps of some places, one layer at a time."""
        outputs, found, norms, exact = [], [], [], True
        for own in self.layerwise_maps(places):
            outputs.append(own.output)
            svd = own.svd(k, tolerance=tolerance, seed=seed)
            squared, known = own.squared_norms(svd, seed=seed)
            found.append(svd)
            norms.append(squared.sum())
            exact = exact and known
        return Spectra(
            outputs=torch.stack(outputs),
            u=torch.stack([svd.U for svd in found]),
            s=torch.stack([svd.S for svd in found]),
            residuals=torch.stack([svd.residuals for svd in found]),
            squared_norms=torch.stack(norms),
            weights=torch.stack([svd.V.square().sum(-1) for svd in found]),
            exact=exact,
        )

    # --- the direct path --------------------------------------------------------------------------------------

    def direct(self, functionals: Tensor) -> Direct:
        """The last residual as the sum of all writes: what each gives to functionals of the output, [m, d]."""
        worth: dict[LayerPart, Tensor] = {}
        constant = functionals.new_zeros(len(functionals))

        def tally(_: str, worth: Tensor) -> None:
            constant.add_(worth.sum(-1))

        with kernels_first(), Readahead() as ahead:
            g = self.forward_pass.final.adjoint(functionals[:, None], tally)
            for at, op in enumerate(sweeps.visited(self.forward_pass.layers[::-1], ahead)):
                layer, values = self.n_layer - 1 - at, dict[str, Tensor]()
                follow(op, self.forward_pass.states[layer], 1.0, values.__setitem__)

                def seen(name: str, g: Tensor, layer: int = layer, values: dict[str, Tensor] = values) -> None:
                    worth[layer, name] = (g * values[name]).sum((-2, -1))

                g = retrace(op, g, seen, tally)
        return Direct(dict(reversed(worth.items())), (g * self.linear.inputs).sum((-2, -1)), constant)

    # --- what they are made of --------------------------------------------------------------------------------

    def _values(self, places: Sequence[LayerPart]) -> dict[LayerPart, Tensor]:
        """The value at every place, [rows, width]."""
        found = {(layer, LAYER): self.forward_pass.states[layer + 1] for layer, part in places if part == LAYER}
        with kernels_first():
            for layer in sorted({layer for layer, part in places if part != LAYER}):

                def seen(name: str, value: Tensor, layer: int = layer) -> None:
                    if (layer, name) in places:
                        found[layer, name] = value

                follow(built(self.forward_pass.layers[layer]), self.forward_pass.states[layer], 1.0, seen)
        return found

    def _site(self, place: LayerPart, value: Tensor) -> Site:
        if place == (self.n_layer - 1, LAYER):  # where the network itself is read
            lens, output = self.forward_pass.final, self.forward_pass.final.apply(value[-1:], 1.0)
        else:
            lens, output = self.family.output_norm.build(self.forward_pass.run.elsewhere(), value[-1:])
        if not bool(torch.isfinite(output).all() and output.any()):
            raise UserError(f"the output norm of this model cannot read what {place[1]!r} writes; ask for {LAYER!r}")
        return Site(*place, lens, output[0], *value.shape)

    def _own(self, site: Site) -> LinearMap:
        state, last = self.forward_pass.states[site.layer], self.linear.inputs.shape[0] - 1
        with kernels_first():
            # made anew at the last position alone, which is all that the map needs of it
            op, _ = build(self.family.layers[site.layer], self.forward_pass.run.at(site.layer, (last,)), state)
            rows = _path(op, site.part, 1, state.device).apply(state[None]).shape[-2]
        operators = (_path(op, site.part, rows, state.device), site.lens)
        return LinearMap(state, operators, site.output, self.linear.budget)

    # --- memory -----------------------------------------------------------------------------------------------

    def _held(self, k: int) -> int:
        """How many vectors of T d entries the search for k triplets may hold."""
        column = self.linear.inputs.numel() * self.linear.inputs.element_size()
        return search_columns(self._budget, column, FEWEST, k)

    @property
    def _budget(self) -> Budget:
        return self.linear.holding

    def _groups(self, order: Sequence[int], k: int) -> Iterator[list[int]]:
        """The sites in groups whose vectors fit the budget, neighbours together."""
        step = max(1, self._held(k) // (USUAL * k))
        for start in range(0, len(order), step):
            yield list(order[start : start + step])


def _path(op: Operator, part: str, rows: int, device: torch.device) -> Operator:
    """From what enters a layer to the last position of a place in it, which has so many rows on a device."""
    path = op if part == LAYER else write_of(op, part)
    assert path is not None
    return path if rows == 1 else Sequential([path, Select((rows - 1,), rows, device)])
