"""What a prompt can be read with: fitted lenses, the logit lens, this prompt's own map, and the mean over a few texts
without any matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.analyses.common.stopwatch import Progress
from ggufjac.analyses.lens.corpus import Corpus
from ggufjac.analyses.lens.costs import columns_pay
from ggufjac.analyses.lens.fit import text_jacobians
from ggufjac.analyses.lens.options import LensFitOptions, LensReadOptions
from ggufjac.errors import UserError
from ggufjac.maps.lens.lens import Lens
from ggufjac.maps.lens.streams import TextStreams
from ggufjac.maps.model import Model


@dataclass(frozen=True)
class Transported:
    """What a lens makes of states, before norm and head: by block, [n, width of the last stream].

    errors: by block [n], the standard error of each as a mean over texts, over its length (none: it is no mean, or not
    known). columns: that were swept for it.
    """

    states: dict[int, Tensor]
    errors: dict[int, Tensor]
    columns: int = 0


def by_logit_lens(states: Mapping[int, Tensor], widths: Sequence[int]) -> Transported:
    """The states as they are. Raises UserError where a block's stream is not as wide as the last one."""
    for layer in states:
        if widths[layer] != widths[-1]:
            raise UserError(
                f"the stream of block {layer} is not as wide as the last one; the logit lens cannot read it"
            )
    return Transported(dict(states), {})


def by_lens(states: Mapping[int, Tensor], lens: Lens) -> Transported:
    """J_l h with a lens's matrices."""
    return Transported(lens.transported(states), {})


def by_own_map(streams: TextStreams, states: Mapping[int, Tensor], positions: Sequence[int]) -> Transported:
    """sum over p' >= p of M_l[p', p] h: what every state does to the end of this prompt's own network."""

    def placed(h: Tensor, which: Sequence[int]) -> Tensor:
        x = h.new_zeros(len(h), streams.n_positions, h.shape[-1])
        x[range(len(h)), [positions[i] for i in which]] = h
        return x

    below, ends = _parted(states, streams.n_layer - 1)
    columns = sum(map(len, below.values()))
    return Transported({**streams.transported(below, placed), **ends}, {}, columns)


def by_corpus(
    model: Model, states: Mapping[int, Tensor], corpus: Corpus, options: LensReadOptions, progress: Progress
) -> Transported:
    """The mean over some texts of J_l h, without a matrix where that is cheaper.

    A state costs a column from its block up, and a text's whole Jacobians cost a column for every entry of the last
    stream from there down to the first block.
    """
    last, d = model.family.n_layer - 1, model.family.leaving
    below, ends = _parted(states, last)
    if not below:
        return Transported(ends, {})
    n, fitting = min(options.prompts, len(corpus.texts)), _fit_options(options, tuple(below))
    sums = {layer: h.new_zeros(len(h), d) for layer, h in below.items()}
    squares = {layer: h.new_zeros(len(h)) for layer, h in below.items()}
    swept = columns_pay({layer: len(h) for layer, h in below.items()}, last, d)
    for text in corpus.texts[:n]:
        model.require_unchanged()
        if swept:
            streams = model.linearize_streams(text[:-1], options, options.skip, progress.passed)
            found = streams.transported(below)
        else:
            found = Lens(text_jacobians(model, text, fitting, progress), 1).transported(below)
        for layer, rows in found.items():
            sums[layer] += rows
            squares[layer] += rows.square().sum(-1)
    means = {layer: s / n for layer, s in sums.items()}
    errors = {layer: _standard_error(means[layer], squares[layer] / n, n) for layer in means} if n > 1 else {}
    return Transported({**means, **ends}, errors, n * (sum(map(len, below.values())) if swept else d))


def _parted(states: Mapping[int, Tensor], last: int) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """The states that a lens brings to the end, and those that are there."""
    below = {layer: h for layer, h in states.items() if layer < last}
    return below, {layer: h for layer, h in states.items() if layer == last}


def _fit_options(options: LensReadOptions, layers: tuple[int, ...]) -> LensFitOptions:
    return LensFitOptions(
        dtype=options.dtype,
        rules=options.rules,
        path=options.path,
        memory=options.memory,
        device=options.device,
        length=options.length,
        skip=options.skip,
        layers=layers or None,
    )


def _standard_error(mean: Tensor, squares: Tensor, n: int) -> Tensor:
    length = mean.square().sum(-1)
    spread = (squares - length).clamp_min(0) / (n - 1)
    return (spread / length.clamp_min(torch.finfo(length.dtype).tiny)).sqrt()
