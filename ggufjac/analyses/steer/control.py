"""A concept as one fixed vector per layer: what llama.cpp adds while it runs.

The direction of a layer is the leading left vector of the map from the concept prompt to the stream that leaves it
("left"), or the sum of all J_t x_t, what the concept prompt's tokens write there ("written"). Its length is half the
median length of the stream there, over the positions of the text that was not steered, divided by the number of layers
in the file: so a file for one layer pushes at a factor of 1 as a strength of 1 does, and one for many shares that push.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ggufjac.analyses.steer.influences import ConceptMaps, StreamMaps
from ggufjac.errors import UserError
from ggufjac.llamacpp.control import ControlFile, steered_layers
from ggufjac.maps.model import Model
from ggufjac.maps.within.sites import LAYER
from ggufjac.network.texts import states_of_text

#: What a direction is.
Kind = Literal["left", "written"]
#: The residual of the leading triplets, ||A^T u - s v|| / s: a direction is wrong by about this much over the relative
#: distance of the second singular value.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """A control vector. file: where it was written; kind: what its vectors are; layers: from 0. left_out: layers that
    were meant and that llama.cpp does not steer. lengths: of the vectors; cosines: of each direction with what the
    concept prompt's tokens write there."""

    file: str
    kind: str
    layers: tuple[int, ...]
    left_out: tuple[int, ...]
    lengths: tuple[float, ...]
    cosines: tuple[float, ...]


def exportable(model: Model, wanted: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The layers of a control vector (None: all that llama.cpp can steer), and those it cannot.

    Raises UserError for layers that were named and do not exist or cannot be steered.
    """
    n_layer, able = model.family.n_layer, steered_layers(model.file, model.family.n_layer)
    if not able:
        raise UserError(f"llama.cpp adds no control vectors to {model.file.architecture!r} models; leave --export out")
    if wanted is None:
        return able, tuple(i for i in range(n_layer) if i not in able)
    for layer in wanted:
        if not 0 <= layer < n_layer:
            raise UserError(f"there is no layer {layer}; the model has layers 0 to {n_layer - 1}")
        if layer not in able:
            raise UserError(
                f"llama.cpp adds no control vector to layer {layer} of this model; it does to {_told(able)}"
            )
    return tuple(sorted(set(wanted))), ()


def directions(
    model: Model, concept: ConceptMaps, text: Tensor, layers: Sequence[int], kind: Kind, *, seed: int, n_ctx: int
) -> tuple[dict[int, Tensor], tuple[float, ...]]:
    """The direction [d] of every layer, and its cosine with what the concept prompt's tokens write there; text [T]: the
    one that is not steered."""
    family, linear = model.family, concept.linear
    maps = StreamMaps(family, linear)
    places = maps.places(layers, (LAYER,))
    written = ConceptMaps(family, linear, layers).written
    u = written if kind == "written" else maps.spectra(places, 1, tolerance=TOLERANCE, seed=seed)[0].u[:, 0]
    states = states_of_text(family, text, linear.dtype, n_ctx=n_ctx, device=linear.device, store=linear.store)
    found, cosines = {}, []
    for layer, own, whole in zip(layers, u, written, strict=True):
        stream = states[layer + 1][:, : family.leaving]
        # a vector that is added to every plane of a stream is closest to a direction in all of them as their mean
        planes = family.leaving // family.d
        d, w = (v.unflatten(0, (planes, -1)).mean(0) for v in (own, whole))
        length = stream.norm(dim=-1).median() / (2 * len(layers) * planes**0.5)
        found[layer] = length * d / d.norm()
        cosines.append(float(d @ w / (d.norm() * w.norm())))
    return found, tuple(cosines)


def export(
    target: str,
    model: Model,
    found: Mapping[int, Tensor],
    kind: Kind,
    left_out: Sequence[int],
    cosines: Sequence[float],
) -> Exported:
    """Write the directions of some layers to a file, whole or not at all."""
    vectors = {layer: v.cpu().float().numpy() for layer, v in found.items()}
    ControlFile(vectors, model.file.architecture).write(target)
    lengths = tuple(float(v.norm()) for v in found.values())
    return Exported(target, kind, tuple(found), tuple(left_out), lengths, tuple(cosines))


def _told(layers: Sequence[int]) -> str:
    if list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]} to {layers[-1]}"
    return ", ".join(map(str, layers))
