"""Two lenses beside each other: two files, two rules, two quantisations of one model.

Of every block both have, how far the matrices are apart, beside what the means of so few texts leave open: with a
standard error e of each, independent estimates of one matrix differ by sqrt(|e_A A|^2 + |e_B B|^2) in the mean. Lenses
of the same texts share most of that noise, so a smaller difference can be real there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.lens.match import LONGEST, TRIAL, LensFacts, opened_lens
from ggufjac.analyses.lens.options import LensCompareOptions
from ggufjac.errors import UserError
from ggufjac.maps.lens.lens import Lens
from ggufjac.maps.lens.unembed import unembedded
from ggufjac.maps.model import Model
from ggufjac.network.forward import run_of
from ggufjac.network.texts import states_of_text
from ggufjac.readable import storable

#: Leading tokens of which it is counted how many two readings share.
LEADING = 10
#: A difference of so many times the noise is more than noise. The noise of a difference has hardly a spread of its own:
#: it is the length of some hundred thousand entries.
BEYOND = 1.5


@dataclass(frozen=True)
class ReadingAgreement:
    """How alike two lenses read the same positions. first: the share where the leading token is one; shared: the share
    of their ten leading tokens that is common, on average; n: positions."""

    first: float
    shared: float
    n: int


@dataclass(frozen=True)
class LayerDifference:
    """Two matrices of one block. cosine: of their entries; difference: ||A - B|| / ||A||; ratio: ||B|| / ||A||; all in
    the Frobenius norm. error_a, error_b: the standard errors of each, over its norm; noise: the difference that they
    alone explain; beyond: whether it is clearly more. reading: how alike they read, where a model was given.
    """

    layer: int
    cosine: float
    difference: float
    ratio: float
    error_a: float
    error_b: float
    noise: float
    beyond: bool
    reading: ReadingAgreement | None


@dataclass(frozen=True, kw_only=True)
class LensComparison(Result):
    """Two lenses, block by block.

    a, b: the lenses; same_texts: whether they were fitted over the same texts; model_a, model_b: the files whose states
    they read, "" where none were given; layers: the blocks that both have.
    """

    kind: ClassVar[str] = "lens-comparison"

    a: LensFacts
    b: LensFacts
    same_texts: bool
    model_a: str
    model_b: str
    layers: tuple[LayerDifference, ...]


def lens_compare(
    a: str | Path,
    b: str | Path,
    model: Model | None = None,
    model_b: Model | None = None,
    options: LensCompareOptions | None = None,
    progress: Progress = silent,
) -> LensComparison:
    """Compare two lenses; model: whose states both read; model_b: where b reads those of another, on the same tokens.

    Raises UserError for files that hold no lens or one of another model, and for lenses of different shapes.
    """
    options = options or LensCompareOptions()
    if model_b is not None and model is None:
        raise UserError("--model-b goes with a MODEL, whose states the first lens reads")
    progress.lap("lenses")
    other = model if model_b is None else model_b
    (one, about_a), (two, about_b) = opened_lens(a, model, options), opened_lens(b, other, options)
    layers = _common(one, two, options.layers)
    readings: dict[int, ReadingAgreement] = {}
    if model is not None and other is not None:
        progress.lap("readings")
        readings = _readings(model, other, one, two, layers, options)
    progress.lap("matrices")
    return LensComparison(
        a=about_a,
        b=about_b,
        same_texts=bool(one.origin.digest) and one.origin.digest == two.origin.digest,
        model_a="" if model is None else storable(model.file.path.name),
        model_b="" if other is None else storable(other.file.path.name),
        layers=tuple(difference(one, two, layer, readings.get(layer)) for layer in layers),
    )


def difference(a: Lens, b: Lens, layer: int, reading: ReadingAgreement | None = None) -> LayerDifference:
    """Two lenses' matrices of one block."""
    one, two = a.jacobian(layer).double(), b.jacobian(layer).double()
    length_a, length_b = float(one.norm()), float(two.norm())
    if not length_a or not length_b:
        raise UserError(f"the matrix of block {layer} is zero in one of the lenses: there is nothing to compare")
    apart, ratio = float((one - two).norm()) / length_a, length_b / length_a
    error_a, error_b = a.standard_error(layer), b.standard_error(layer)
    noise = math.hypot(error_a, error_b * ratio) if math.isfinite(error_a + error_b) else math.nan
    cosine = float((one * two).sum()) / (length_a * length_b)
    return LayerDifference(layer, cosine, apart, ratio, error_a, error_b, noise, apart > BEYOND * noise, reading)


def _common(a: Lens, b: Lens, asked: Sequence[int] | None) -> tuple[int, ...]:
    """The blocks of both. Raises UserError where there are none, where one that was asked for is missing, and where
    their shapes differ."""
    both = tuple(layer for layer in a.layers if layer in b.jacobians)
    if not both:
        raise UserError("the lenses have no block in common")
    for layer in asked or ():
        if layer not in both:
            raise UserError(f"not both lenses have a matrix of block {layer}; both have {', '.join(map(str, both))}")
    layers = tuple(sorted(set(asked))) if asked else both
    for layer in layers:
        if a.jacobians[layer].shape != b.jacobians[layer].shape:
            shapes = " and ".join("x".join(map(str, x.jacobians[layer].shape)) for x in (a, b))
            raise UserError(f"the lenses are of models of different widths: {shapes} at block {layer}")
    return layers


def _readings(
    model: Model, other: Model, a: Lens, b: Lens, layers: Sequence[int], options: LensCompareOptions
) -> dict[int, ReadingAgreement]:
    """What both read of the same tokens, each through its own model."""
    texts = [_trial(model, text) for text in options.texts] or [_trial(model, TRIAL)[:LONGEST]]
    first: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    shared: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for ids in texts:
        read_a = _leading(model, a, ids, layers, options)
        read_b = read_a if other is model and b is a else _leading(other, b, other.ids_of(ids), layers, options)
        for layer in layers:
            one, two = read_a[layer], read_b[layer]
            first[layer].append(one[:, 0] == two[:, 0])
            shared[layer].append((one[:, :, None] == two[:, None]).any(-1).double().mean(-1))
    return {
        layer: ReadingAgreement(
            float(torch.cat(first[layer]).double().mean()),
            float(torch.cat(shared[layer]).mean()),
            sum(len(ids) for ids in texts),
        )
        for layer in layers
    }


def _trial(model: Model, text: str) -> list[int]:
    ids = model.tokenize(text)[: model.family.n_ctx_train]
    return model.ids_of(ids)


def _leading(
    model: Model, lens: Lens, ids: Sequence[int], layers: Sequence[int], options: LensCompareOptions
) -> dict[int, Tensor]:
    """The leading tokens at every position of a text, by block, [T, LEADING]."""
    states = states_of_text(
        model.family, torch.tensor(ids), options.values_dtype, n_ctx=len(ids), device=options.device
    )
    run, found = run_of(ids), {}
    with torch.no_grad():
        for layer in layers:
            reached = lens.transported({layer: states[layer + 1].cpu()})[layer]
            read = unembedded(model.family, run, reached.to(options.values_dtype))
            found[layer] = torch.cat([logits.topk(LEADING).indices for logits in read])
    return found
