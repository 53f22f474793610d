"""Hook points: the values between a network's parts, by the field's names beside llama.cpp's.

    point           what it is                                   in llama.cpp's graph
    embed           what enters block 0
    resid_pre.L     what enters block L
    attn_out.L      what the attention of block L adds
    mlp_out.L       what the MLP of block L adds
    resid_post.L    what leaves block L                          l_out-L
    ln_final        after the output norm                        result_norm
    logits          of the next token                            result_output

They are TransformerLens's names without "blocks." and "hook_". Blocks with other parts have points after the names of
these (ssm_out.L, laurel_out.L, ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from ggufjac.maps.within.sites import LAYER
from ggufjac.maps.within.writes import follow, written
from ggufjac.network.forward import ForwardPass
from ggufjac.operators import built
from ggufjac.quants.memory.threads import kernels_first

STREAM, ENTERS, WRITES = "resid_post", "resid_pre", "_out"
_POINT = re.compile(r"(?P<name>[a-z_ ]+)\.(?P<layer>\d+)$")


def part_called(name: str) -> str:
    """The part of a layer that is meant by its own name or by the field's (resid_post, attn_out, mlp_out)."""
    return LAYER if name == STREAM else name.removesuffix(WRITES)


class Activations(Mapping[str, Tensor]):
    """The values of one forward pass at all hook points, [T, n] each at every position; iterating gives their names.

    What blocks write is computed when it is asked for. Raises KeyError, with the names there are, for any other name.
    """

    def __init__(self, done: ForwardPass) -> None:
        self._done = done
        self._written: dict[int, dict[str, Tensor]] = {}

    def __repr__(self) -> str:
        return f"<Activations {len(self)} points, {self._done.states[0].shape[-2]} positions>"

    def __getitem__(self, point: str) -> Tensor:
        done = self._done
        outside = {"embed": done.states[0], "ln_final": done.output, "logits": done.logits}
        if point in outside:
            return outside[point]
        match = _POINT.match(point)
        if match is None or int(match["layer"]) >= len(done.layers):
            raise KeyError(f"{point!r}; the points are embed, resid_pre.L, attn_out.L, mlp_out.L, resid_post.L, ...")
        name, layer = match["name"], int(match["layer"])
        if name in (ENTERS, STREAM):
            return done.states[layer + (name == STREAM)]
        found = self._writes_of(layer)
        part = name.removesuffix(WRITES)
        if part not in found or part == name:
            raise KeyError(f"{point!r}; block {layer} has {', '.join(part + WRITES for part in found)}")
        return found[part]

    def __iter__(self) -> Iterator[str]:
        yield "embed"
        for layer, op in enumerate(self._done.layers):
            parts = [part + WRITES for part in written(built(op))]
            yield from (f"{name}.{layer}" for name in (ENTERS, *parts, STREAM))
        yield from ("ln_final", "logits")

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _writes_of(self, layer: int) -> dict[str, Tensor]:
        if layer not in self._written:
            values: dict[str, Tensor] = {}
            with kernels_first():
                follow(built(self._done.layers[layer]), self._done.states[layer], 1.0, values.__setitem__)
            self._written[layer] = values
        return self._written[layer]
