"""Maps from the tokens' vectors to many places of one network, all of them served by the same sweeps.

Forwards, columns go up through the layers once and are read at every site that they pass. Backwards, the columns of a
site join those of the deeper ones where it lies, and all go down together. So a sweep meets each layer's weights once,
however many sites there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.within.writes import follow, write_of
from ggufjac.operators import One, Operator
from ggufjac.quants.memory.budget import columns_within
from ggufjac.quants.memory.readahead import Readahead
from ggufjac.quants.memory.threads import kernels_first

#: The part of a layer that is all of it: what leaves the block.
LAYER = "layer"


@dataclass(frozen=True)
class Site:
    """A place that is read: what leaves a block (part LAYER), or what one of its parts writes, at the last position.

    lens: the output norm, frozen at this place's own vector; output [d]: what it makes of it. rows: the positions that
    the place has (all of them, or only the last one), and width: how wide it is.
    """

    layer: int
    part: str
    lens: Operator
    output: Tensor
    rows: int
    width: int

    def read(self, value: Tensor, one: One = None) -> Tensor:
        """[n, rows, width] -> [n, d]: the last position through the lens."""
        return self.lens.apply(value[:, -1:], one)[:, 0]

    def lift(self, y: Tensor) -> Tensor:
        """The transpose of `read`: [n, d] -> [n, rows, width]."""
        g = self.lens.adjoint(y[:, None])
        if self.rows == 1:
            return g
        value = g.new_zeros(len(g), self.rows, self.width)
        value[:, -1:] = g
        return value


class Sites:
    """The cumulative maps of several sites: inputs x [T, d_in], the operators of all layers, the deepest site first.

    room: bytes that the values of a sweep may take.
    """

    def __init__(self, inputs: Tensor, layers: Sequence[Operator], sites: Sequence[Site], room: int) -> None:
        self.inputs = inputs
        self.layers = tuple(layers)
        self.sites = tuple(sites)
        self.room = room
        places = [(-site.layer, site.part != LAYER) for site in sites]
        if places != sorted(places):
            raise ValueError("sites go from the deepest layer to the first, and what leaves a layer before its parts")

    @property
    def column_bytes(self) -> int:
        """What one column takes at its widest."""
        width = max([self.inputs.shape[1], *(site.width for site in self.sites)])
        return self.inputs.shape[0] * width * self.inputs.element_size()

    def forward(self, x: Tensor, which: Sequence[int] | None = None, one: One = None) -> Tensor:
        """The images of columns x [n, T, d_in] at the sites numbered `which` (None: all), [sites, n, d]."""
        chosen = self._chosen(which)
        step = columns_within(self.room, self.column_bytes)
        pieces = [self._climb(x[start : start + step], chosen, one) for start in range(0, len(x), step)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)

    def backward(self, y: Tensor, which: Sequence[int] | None = None) -> Tensor:
        """Columns y [sites, n, d], those of each of the sites numbered `which` in ascending order (None: all), pulled
        back to the tokens: [sites, n, T, d_in]."""
        chosen = self._chosen(which)
        step = max(1, columns_within(self.room, self.column_bytes) // len(chosen))
        if y.shape[1] <= step:
            return self._descend(y, chosen)
        out = y.new_empty(*y.shape[:2], *self.inputs.shape)
        for start in range(0, y.shape[1], step):
            out[:, start : start + step] = self._descend(y[:, start : start + step], chosen)
        return out

    def constants(self) -> Tensor:
        """[sites, d]: what the network's constants contribute to every site's output."""
        if not any(op.affine for op in (*self.layers, *(site.lens for site in self.sites))):
            return torch.zeros_like(torch.stack([site.output for site in self.sites]))
        return self.forward(self.inputs.new_zeros(1, *self.inputs.shape), one=1.0)[:, 0]

    def _chosen(self, which: Sequence[int] | None) -> list[Site]:
        return list(self.sites) if which is None else [self.sites[i] for i in which]

    # --- sweeps -----------------------------------------------------------------------------------------------

    def _climb(self, x: Tensor, chosen: Sequence[Site], one: One) -> Tensor:
        images = x.new_empty(len(chosen), len(x), chosen[0].output.shape[-1])
        owned = False
        with kernels_first(), Readahead() as ahead:
            for layer, op in enumerate(sweeps.visited(self.layers[: chosen[0].layer + 1], ahead)):
                here = {
                    site.part: (site, image) for site, image in zip(chosen, images, strict=True) if site.layer == layer
                }
                y = self._through(op, x, one, here, owned=owned)
                owned, x = owned or y is not x, y
        return images

    def _through(
        self, op: Operator, x: Tensor, one: One, here: dict[str, tuple[Site, Tensor]], *, owned: bool
    ) -> Tensor:
        """x through one layer in pieces; the sites in it are read on the way."""
        inside, n = any(part != LAYER for part in here), len(x)
        step, out = sweeps.piece_columns(op, x, self.room), None
        for start in range(0, n, step):
            piece = x[start : start + step]

            def seen(name: str, value: Tensor, start: int = start) -> None:
                if name in here:
                    site, image = here[name]
                    image[start : start + step] = site.read(value, one)

            y = follow(op, piece, one, seen) if inside else op.apply(piece, one)
            seen(LAYER, y)
            if n <= step:
                return y
            if out is None:
                out = x if owned and y.shape[1:] == x.shape[1:] else x.new_empty(n, *y.shape[1:])
            out[start : start + step] = y
        assert out is not None
        return out

    def _descend(self, y: Tensor, chosen: Sequence[Site]) -> Tensor:
        deepest = chosen[0].layer
        joining = dict(zip(((site.layer, site.part) for site in chosen), zip(chosen, y, strict=True), strict=True))
        g: Tensor | None = None
        with kernels_first(), Readahead() as ahead:
            for at, op in enumerate(sweeps.visited(self.layers[deepest::-1], ahead)):
                here = [(site, own) for (layer, _), (site, own) in joining.items() if layer == deepest - at]
                for site, own in here:
                    if site.part == LAYER:
                        g = _joined(g, site.lift(own))
                if g is not None:
                    g = sweeps.back_through(op, g, self.room, owned=True)
                for site, own in here:
                    if site.part != LAYER:
                        path = write_of(op, site.part)
                        assert path is not None
                        g = _joined(g, sweeps.back_through(path, site.lift(own), self.room, owned=True))
        assert g is not None
        pulled: Tensor = g.unflatten(0, y.shape[:2])
        return pulled


def _joined(above: Tensor | None, below: Tensor) -> Tensor:
    return below if above is None else torch.cat((above, below))
