"""What a prompt can be read with: fitted lenses, the logit lens, this prompt's own map, and the mean over a few texts
without any matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.analyses.common.stopwatch import Progress
from ggufjac.analyses.lens.corpus import Corpus
from ggufjac.analyses.lens.fit import text_jacobians
from ggufjac.analyses.lens.options import LensFitOptions, LensReadOptions
from ggufjac.errors import UserError
from ggufjac.maps.lens.lens import Lens
from ggufjac.maps.lens.streams import TextStreams
from ggufjac.maps.model import Model

#: What lenses that need no file are called.
LOGIT, OWN, CORPUS = "logit", "own", "corpus"


@dataclass(frozen=True)
class Transported:
    """What a lens makes of states, before norm and head: by block, [n, width of the last stream].

    errors: by block [n], the standard error of each as a mean over texts, over its length (none: it is no mean, or not
    known). columns: that were swept for it, and through how many positions.
    """

    states: dict[int, Tensor]
    errors: dict[int, Tensor]
    columns: int = 0
    positions: int = 0


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

    columns = sum(len(h) for h in states.values())
    return Transported(streams.transported(states, placed), {}, columns, streams.n_positions)


def by_corpus(
    model: Model, states: Mapping[int, Tensor], corpus: Corpus, options: LensReadOptions, progress: Progress
) -> Transported:
    """The mean over some texts of J_l h, without a matrix where that is cheaper.

    A state costs a column from its block up, and a text's whole Jacobians cost a column for every entry of the last
    stream from there down to the first block.
    """
    n = min(options.prompts, len(corpus.texts))
    fitting = _fit_options(options, tuple(layer for layer in states if layer < model.family.n_layer - 1))
    sums = {layer: torch.zeros_like(h) for layer, h in states.items()}
    squares = {layer: h.new_zeros(len(h)) for layer, h in states.items()}
    columns = positions = 0
    last = model.family.n_layer - 1
    for text in corpus.texts[:n]:
        model.require_unchanged()
        if _columns_pay(states, last, model.family.leaving):
            streams = model.linearize_streams(text[:-1], options, options.skip, progress.passed)
            found = streams.transported(states)
            columns, positions = sum(map(len, states.values())), streams.n_positions
        else:
            matrices = text_jacobians(model, text, fitting, progress)
            found = Lens(matrices, 1).transported(states)
            columns, positions = model.family.leaving, len(text) - 1 - options.skip
        for layer, row in found.items():
            sums[layer] = sums[layer].to(row) + row
            squares[layer] = squares[layer].to(row) + row.square().sum(-1)
    means = {layer: s / n for layer, s in sums.items()}
    errors = {layer: _standard_error(means[layer], squares[layer] / n, n) for layer in means} if n > 1 else {}
    return Transported(means, errors, n * columns, positions)


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


def _columns_pay(states: Mapping[int, Tensor], last: int, d: int) -> bool:
    """Whether the states' columns, each from its block up, pass fewer blocks than the last stream's d columns do."""
    lowest = min(states)
    return sum(len(h) * (last - layer) for layer, h in states.items()) < d * (last - lowest)


def _standard_error(mean: Tensor, squares: Tensor, n: int) -> Tensor:
    length = mean.square().sum(-1)
    spread = (squares - length).clamp_min(0) / (n - 1)
    return (spread / length.clamp_min(torch.finfo(length.dtype).tiny)).sqrt()
