"""Which input tokens make the prediction, through which singular components, and through which layers' writes.

The quantity that is explained is a logit, or the difference of two: a functional w . y of the final state, whose terms
w . J_t x_t add up exactly. So do its parts by component, sigma_i (v_i . x)(w . u_i), with what the others give, and its
parts by (token, write): all paths from the token to the output whose last write it is (ggufjac.maps.paths).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.decode import Decoder
from ggufjac.analyses.facts import ModelFacts, facts_of
from ggufjac.analyses.following import LlamaRun, llama_run_of
from ggufjac.analyses.options import MapOptions
from ggufjac.analyses.prediction import Prediction, Triplet, combined_triplets, prediction_of, top_predictions
from ggufjac.analyses.result import Result
from ggufjac.analyses.stopwatch import Progress, Stopwatch
from ggufjac.analyses.text import Piece, Speller
from ggufjac.errors import UserError
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import SVD
from ggufjac.maps.model import Model
from ggufjac.maps.paths import LastWrites, last_writes, positions

#: How many predictions are explained where no target is given.
QUESTIONS = 4


@dataclass(frozen=True)
class Question:
    """What is explained: the target's logit, or how far it is above that of `against`, or above the mean of all logits.

    Differences say more about the prediction than a logit, of which much is common to all tokens and moves none.
    """

    target: Prediction
    against: Prediction | None
    above_mean: bool
    value: float


@dataclass(frozen=True)
class TokenTerms:
    """One input token and its term of every question."""

    token: Piece
    terms: tuple[float, ...]


@dataclass(frozen=True)
class Component:
    """A triplet of the combined map, its term of every question, and its parts by token of the first question."""

    triplet: Triplet
    terms: tuple[float, ...]
    tokens: tuple[float, ...]


@dataclass(frozen=True)
class WriteTerms:
    """What the first question draws from each token, and from constants, by paths whose last write this is.

    layer, part: which write ("attn", "mlp", ...); None and "direct" for what goes past all of them.
    """

    layer: int | None
    part: str
    tokens: tuple[float, ...]
    constant: float

    @property
    def total(self) -> float:
        return sum(self.tokens) + self.constant


@dataclass(frozen=True)
class Attribution(Result):
    """One or more logits, or differences of logits, explained; the first question in more detail.

    constants: what biases give to every question. rest: what the components that are not listed give. writes: the
    direct paths first, then in the order of the network; their columns add up to the tokens' terms. carried: for every
    block l what the first question draws from each position of the state that enters it, with the constants to come
    last; the last row is the state that leaves the network. Every row adds up to the value.
    """

    kind: ClassVar[str] = "attribution"
    report: ClassVar[str] = "attribution"

    model: ModelFacts
    prompt: str
    dtype: str
    path: str
    seed: int
    predictions: tuple[Prediction, ...]
    questions: tuple[Question, ...]
    tokens: tuple[TokenTerms, ...]
    constants: tuple[float, ...]
    components: tuple[Component, ...]
    rest: tuple[float, ...]
    writes: tuple[WriteTerms, ...]
    carried: tuple[tuple[float, ...], ...]
    reconstruction: float
    seconds: dict[str, float]
    llama: LlamaRun | None = None

    @property
    def sums(self) -> tuple[float, ...]:
        """What the terms of every question add up to, which is its value."""
        return tuple(sum(row.terms[i] for row in self.tokens) + constant for i, constant in enumerate(self.constants))


@dataclass(frozen=True, kw_only=True)
class Options(MapOptions):
    """targets: ids of the tokens to explain, the most interesting first (none: the likeliest ones); against: the id of
    the token whose logit is subtracted from each; above_mean: the mean of all logits is; top: how many components.
    """

    targets: tuple[int, ...] = ()
    against: int | None = None
    above_mean: bool = False
    top: int = 8


def attribute(
    model: Model, prompt: str | Sequence[int], options: Options | None = None, progress: Progress = lambda _: None
) -> Attribution:
    """Explain logits of one prompt. Raises UserError for tokens that do not exist, and for a token against itself."""
    options = options or Options()
    watch = Stopwatch(progress)
    ids = model.ids_of(prompt)
    _check(model, options)
    watch.lap("forward pass")
    speller = Speller(model.vocab)
    linear = options.linearize(model, ids)
    watch.lap("tokens")
    asked = _questions(linear, speller, options)
    functionals, offsets = _functionals(linear, asked)
    terms = linear.attribute(functionals)
    reconstruction = linear.reconstruction_error()
    watch.lap("layers")
    writes = last_writes(linear, functionals[0])
    carried = positions(linear, functionals[0])
    watch.lap("components")
    svd = linear.svd(options.top, "combined", seed=options.seed)
    grid = _components(linear, functionals, svd)
    triplets = combined_triplets(linear, functionals[0], svd, Decoder(model.family, options.dtype), speller)
    # what the head adds to a logit is a constant like those of the network
    constants = (terms[:, -1].double().cpu() + offsets).tolist()
    return Attribution(
        model=facts_of(model.file),
        prompt=prompt if isinstance(prompt, str) else model.detokenize(ids),
        dtype=options.dtype_name,
        path=options.path,
        seed=options.seed,
        predictions=top_predictions(linear, speller),
        questions=asked,
        tokens=tuple(TokenTerms(speller.piece(token), tuple(terms[:, t].tolist())) for t, token in enumerate(ids)),
        constants=tuple(constants),
        components=tuple(
            Component(triplet, tuple(grid[:, i].sum(-1).tolist()), tuple(grid[0, i].tolist()))
            for i, triplet in enumerate(triplets)
        ),
        rest=tuple((terms[:, :-1].sum(-1) - grid.sum((1, 2))).tolist()),
        writes=_writes(writes, float(offsets[0])),
        carried=tuple((*row[:-1], row[-1] + float(offsets[0])) for row in carried.tolist()),
        reconstruction=reconstruction,
        seconds=watch.stop(),
        llama=llama_run_of(linear),
        arrays={
            "tokens": torch.tensor(ids),
            "functionals": functionals,
            "terms": torch.cat((terms[:, :-1], torch.tensor(constants).to(terms)[:, None]), 1),
            "components": grid,
            "combined.U": svd.U,
            "combined.S": svd.S,
            "combined.V": svd.V,
            "writes": torch.cat((writes.terms, writes.constants[:, None]), 1),
            "carried": carried,
        },
    )


def _check(model: Model, options: Options) -> None:
    for token in (*options.targets, *(() if options.against is None else (options.against,))):
        if not 0 <= token < model.family.n_vocab:
            raise UserError(f"there is no token {token}; the vocabulary has {model.family.n_vocab} tokens, from 0")
    if options.against is not None and options.above_mean:
        raise UserError("a logit is explained against another token's or above the mean of all, not both")
    if options.against in options.targets:
        raise UserError("a token cannot be explained against itself; give two different ones")


def _questions(linear: DetachedMap, speller: Speller, options: Options) -> tuple[Question, ...]:
    likeliest = linear.logits.topk(min(QUESTIONS + 1, len(linear.logits))).indices.tolist()
    targets = options.targets or [token for token in likeliest if token != options.against][:QUESTIONS]
    against = None if options.against is None else prediction_of(linear, speller, options.against)
    below = 0.0 if against is None else against.logit
    if options.above_mean:
        below = float(linear.logits.double().mean())
    asked = (prediction_of(linear, speller, token) for token in targets)
    return tuple(Question(target, against, options.above_mean, target.logit - below) for target in asked)


def _functionals(linear: DetachedMap, questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
    """w [m, d] and b [m] float64 with w . y + b the value of each question."""
    found = [linear.logit_functional(question.target.token.id) for question in questions]
    w, b = torch.stack([w for w, _ in found]), torch.tensor([b for _, b in found], dtype=torch.float64)
    first = questions[0]
    if first.against is not None:
        minus, offset = linear.logit_functional(first.against.token.id)
        w, b = w - minus, b - offset
    if first.above_mean:
        minus, offset = linear.functional(torch.full_like(linear.logits, 1 / len(linear.logits)))
        w, b = w - minus, b - offset
    return w, b


def _components(linear: DetachedMap, functionals: Tensor, svd: SVD) -> Tensor:
    """[m, k, T]: what component i of token t gives to every functional, sigma_i (v_it . x_t)(w . u_i)."""
    reads = torch.einsum("ktn,tn->kt", svd.V, linear.inputs)
    return torch.einsum("k,kt,mk->mkt", svd.S, reads, functionals @ svd.U.T)


def _writes(found: LastWrites, offset: float) -> tuple[WriteTerms, ...]:
    terms, constants = found.terms.tolist(), found.constants.tolist()
    direct = WriteTerms(None, "direct", tuple(terms[0]), constants[0] + offset)
    return (
        direct,
        *(
            WriteTerms(layer, part, tuple(row), constant)
            for (layer, part), row, constant in zip(found.names, terms[1:], constants[1:], strict=True)
        ),
    )
