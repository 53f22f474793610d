"""What every layer is about to say: the states of a prompt, read through lenses.

lens_l(h) = head(norm(J_l h)): J_l brings what leaves block l to where the last block leaves off, and the model's own
output norm and head (with its soft cap) read it there. The logit lens (nostalgebraist 2020) has J_l = 1; the Jacobian
lens (Gurnee et al., arXiv 2607.15495) the mean Jacobian over texts; a prompt's own map needs no text but itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.predictions import top_predictions
from ggufjac.analyses.common.result import PromptResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.lens.corpus import Corpus, own_words
from ggufjac.analyses.lens.match import require_shape
from ggufjac.analyses.lens.options import CORPUS, LOGIT, OWN, LensReadOptions
from ggufjac.analyses.lens.sources import Transported, by_corpus, by_lens, by_logit_lens, by_own_map
from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.maps.lens.lens import Lens
from ggufjac.maps.lens.streams import TextStreams
from ggufjac.maps.lens.unembed import unembedded
from ggufjac.maps.model import Model

#: A fitted lens with what its file is called, or the name of one that needs no file.
Named = tuple[str, Lens] | str


@dataclass(frozen=True)
class LensCell:
    """A state, read. top: the likeliest tokens with their probabilities; ranks: of the targets among all tokens, from
    1."""

    top: tuple[Piece, ...]
    probabilities: tuple[float, ...]
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class LensRow:
    """What leaves one block, read at every position."""

    layer: int
    cells: tuple[LensCell, ...]


@dataclass(frozen=True)
class LensGrid:
    """A prompt read through one lens.

    name: "logit", "own", "corpus", or a file's; rules: by which it was linearised ("": by none, or not known);
    n_prompts: texts that it is a mean of; error: the median over the grid of the standard error of what it brings to
    the end, over its length (None: it is no mean, or not known); columns: that were swept to read it; agreement: with
    the first grid, the share of cells with the same first token.
    """

    name: str
    rules: str
    n_prompts: int
    error: float | None
    columns: int
    agreement: float
    rows: tuple[LensRow, ...]


@dataclass(frozen=True, kw_only=True)
class LensGrids(PromptResult):
    """The grids of one prompt. positions: which tokens were read, by number; targets: the tokens whose ranks are told;
    words: whether only tokens with a letter or digit are shown."""

    kind: ClassVar[str] = "lens"

    n_layer: int
    tokens: tuple[Piece, ...]
    positions: tuple[int, ...]
    targets: tuple[Piece, ...]
    words: bool
    grids: tuple[LensGrid, ...]


def lens(
    model: Model,
    prompt: PromptLike,
    options: LensReadOptions | None = None,
    progress: Progress = silent,
    lenses: Sequence[Named] = (LOGIT,),
    corpus: Corpus | None = None,
) -> LensGrids:
    """One prompt through some lenses.

    corpus: the texts of the lens "corpus" (None: what the model says by itself). Raises UserError for a lens that does
    not fit the model, and for layers and tokens that there are not.
    """
    options = options or LensReadOptions()
    own = options.of_own_map
    subject = Subject(model, prompt, own, progress)
    n_layer = model.family.n_layer
    chosen = _chosen(n_layer, options)
    targets = _targets(subject, options)
    subject.lap("forward pass")
    with torch.no_grad():
        streams = model.linearize_streams(subject.ids, own, 0, subject.passed)
    n = len(subject.ids)
    positions = tuple(range(n))[-options.positions :] if options.positions else tuple(range(n))
    states = {layer: streams.stream(layer)[list(positions)] for layer in chosen}
    hidden = _without_words(subject) if options.words else None
    grids: list[LensGrid] = []
    for named in lenses:
        name = named if isinstance(named, str) else named[0]
        subject.lap(f"lens {name}")
        read, rules, texts = _transported(model, named, streams, states, positions, options, corpus, progress)
        rows = _rows(subject, streams, read, targets, hidden, options.top)
        errors = torch.cat(list(read.errors.values())) if read.errors else None
        grids.append(
            LensGrid(
                name=name,
                rules=rules,
                n_prompts=texts,
                error=None if errors is None else float(errors.median()),
                columns=read.columns,
                agreement=_agreement(grids[0].rows, rows) if grids else 1.0,
                rows=rows,
            )
        )
    return LensGrids(
        **subject.facts(top_predictions(streams.forward_pass.logits[-1].cpu(), subject.speller)),
        n_layer=n_layer,
        tokens=subject.pieces,
        positions=positions,
        targets=tuple(subject.speller.piece(token) for token in targets),
        words=options.words,
        grids=tuple(grids),
        arrays=subject.arrays(
            layers=torch.tensor(chosen),
            positions=torch.tensor(positions),
            **{
                f"{grid.name}.ranks": torch.tensor([[cell.ranks for cell in row.cells] for row in grid.rows])
                for grid in grids
                if targets
            },
        ),
    )


def _transported(
    model: Model,
    named: Named,
    streams: TextStreams,
    states: Mapping[int, Tensor],
    positions: Sequence[int],
    options: LensReadOptions,
    corpus: Corpus | None,
    progress: Progress,
) -> tuple[Transported, str, int]:
    """What a lens makes of the states, its rules, and how many texts it is a mean of."""
    own, mean = options.of_own_map, options.of_mean
    if named == LOGIT:
        return by_logit_lens(states, streams.widths), "", 0
    if named == OWN:
        return by_own_map(streams, states, positions), str(own.linearisation), 0
    if named == CORPUS:
        texts = corpus or own_words(
            model, options.prompts, length=options.length, seed=options.seed, device=options.device
        )
        read = by_corpus(model, states, texts, mean, progress)
        return read, str(mean.linearisation), min(options.prompts, len(texts.texts))
    assert not isinstance(named, str)
    name, found = named
    try:
        require_shape(found, model)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    return by_lens(states, found), found.origin.rules, found.n_prompts


def _chosen(n_layer: int, options: LensReadOptions) -> tuple[int, ...]:
    layers = tuple(range(n_layer)) if options.layers is None else tuple(sorted(set(options.layers)))
    for layer in layers:
        if not 0 <= layer < n_layer:
            raise UserError(f"there is no layer {layer}; the model has layers 0 to {n_layer - 1}")
    return layers


def _targets(subject: Subject, options: LensReadOptions) -> tuple[int, ...]:
    given = options.target
    if given is None:
        return ()
    named = (given,) if isinstance(given, str | int) else tuple(given)
    return tuple(dict.fromkeys(subject.token(name) for name in named))


def _without_words(subject: Subject) -> Tensor:
    """Which tokens have no letter and no digit, or are no text of their own, [n_vocab]."""
    speller, n = subject.speller, subject.model.family.n_vocab
    return torch.tensor(
        [speller.special(t) or not any(c.isalnum() for c in speller.raw(t).decode("utf-8", "ignore")) for t in range(n)]
    )


def _rows(
    subject: Subject,
    streams: TextStreams,
    read: Transported,
    targets: Sequence[int],
    hidden: Tensor | None,
    top: int,
) -> tuple[LensRow, ...]:
    family, rows = subject.model.family, []
    for layer, ends in sorted(read.states.items()):
        cells: list[LensCell] = []
        for logits in unembedded(family, streams.forward_pass.run, ends):
            cells += _cells(subject, logits.cpu(), targets, hidden, top)
        rows.append(LensRow(layer, tuple(cells)))
    return tuple(rows)


def _cells(
    subject: Subject, logits: Tensor, targets: Sequence[int], hidden: Tensor | None, top: int
) -> Iterator[LensCell]:
    if not bool(torch.isfinite(logits).all()):
        raise UserError(
            f"{subject.model.file.path}: what the lens brings to the end is no number; --dtype float64 may hold it"
        )
    p = logits.double().softmax(-1)
    shown = p if hidden is None else p.masked_fill(hidden, -1.0)
    best = shown.topk(min(top, p.shape[-1]), dim=-1)
    ranks = [(logits > logits[:, [target]]).sum(-1) + 1 for target in targets]
    for i, (values, ids) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
        pieces = tuple(subject.speller.piece(token) for token, value in zip(ids, values, strict=True) if value >= 0)
        yield LensCell(pieces, tuple(v for v in values if v >= 0), tuple(int(rank[i]) for rank in ranks))


def _agreement(a: Sequence[LensRow], b: Sequence[LensRow]) -> float:
    """The share of cells with the same first token."""
    same = [
        x.top[:1] == y.top[:1]
        for one, other in zip(a, b, strict=True)
        for x, y in zip(one.cells, other.cells, strict=True)
    ]
    return sum(same) / len(same)
