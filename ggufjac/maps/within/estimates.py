"""What a change of a value inside the network does to the output, to first order under the rules, everywhere at once.

A functional of the output is pulled back in one adjoint sweep: g_l[p] is what the stream that leaves block l is worth
at position p, and on the way through a layer what every block's write is worth. A value that is another by D[p] changes
the functional by <g_l[p], D[p]>, with the network held as the rules hold it. By the rules of the derivative this is
attribution patching (Nanda 2023; Syed et al., arXiv 2310.10348), by rules of relevance RelP (arXiv 2508.21258).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.within.heads import behind_heads, branches
from ggufjac.maps.within.sites import LAYER
from ggufjac.maps.within.writes import pulled_back
from ggufjac.network.patches import HEADS
from ggufjac.quants.memory.readahead import Readahead
from ggufjac.quants.memory.threads import kernels_first


def changes(
    linear: DetachedMap,
    functional: Tensor,
    leaving: int,
    difference: Callable[[int, str], Tensor | None],
    heads: Callable[[int], Tensor | None] | None = None,
) -> dict[tuple[int, str], Tensor]:
    """By layer and part the change of a functional [d] of the output, [T] for every position alone.

    difference: by how much the value there is another one, [T or 1, n], of what leaves a layer (LAYER) or what one of
    its blocks writes; None: nothing is asked. A place of the last layer that has the last position alone gives [1].
    leaving: how many entries of a state are the stream, the first ones. Where rules let states have lanes more than the
    one that the difference is of (keys that are read again), it is the stream's change alone. heads: the same of what
    the heads of a layer's attention read, [T or 1, n_head, d_head]; told of (layer, HEADS), [T or 1, n_head].
    """
    found: dict[tuple[int, str], Tensor] = {}

    def seen(layer: int, part: str, g: Tensor) -> None:
        other = difference(layer, part)
        if other is not None:
            width = leaving if g.shape[-1] != other.shape[-1] else None
            found[layer, part] = (g[0, :, :width] * other[:, :width]).sum(-1)

    def told(layer: int, asked: dict[str, Tensor], part: str, g: Tensor) -> None:
        asked[part] = g
        seen(layer, part, g)

    with torch.no_grad(), kernels_first(), Readahead() as ahead:
        layers = linear.forward_pass.layers
        g = linear.forward_pass.final.adjoint(functional[None, None])
        for at, op in enumerate(sweeps.visited(layers[::-1], ahead)):
            layer = len(layers) - 1 - at
            seen(layer, LAYER, g)
            other, asked = None if heads is None else heads(layer), dict[str, Tensor]()
            g = pulled_back(op, g, partial(told, layer, asked))
            if other is not None:
                ((part, behind),) = ((part, way) for part, _, branch in branches(op) for way in behind_heads(branch))
                read = behind.adjoint(asked[part])[0].unflatten(-1, (other.shape[-2], -1))
                found[layer, HEADS] = (read * other).sum(-1)
            if linear.passed is not None:
                linear.passed(1)
    return found
