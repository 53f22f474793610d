"""Which input tokens make the prediction, through which singular components, and through which layers' writes.

The quantity that is explained is a logit, or how far it is above others: a functional w . y of the final state, with
terms w . J_t x_t under the rules of linearisation that are asked for. Where these reconstruct the terms add up to the
quantity exactly; otherwise what they miss is told. The parts by component, sigma_i (v_i . x)(w . u_i), with what the
others give, add up to the terms in any case, and so do those by (token, write): all paths from the token to the output
whose last write it is (ggufjac.maps.within.paths).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.answer.phrase import Phrase, phrase_of
from ggufjac.analyses.common.account import Account, sinks
from ggufjac.analyses.common.constants import ConstantTerms, constant_terms, constants_of
from ggufjac.analyses.common.predictions import Triplet
from ggufjac.analyses.common.questions import Question, ask, functionals
from ggufjac.analyses.common.result import MapResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.analyses.heads import HeadAccount, HeadTerms, LayerHeads, heads_of
from ggufjac.analyses.options import ABOVE, AttributeOptions, Token, Tokens
from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import SVD
from ggufjac.maps.model import Model
from ggufjac.maps.swept import relative_error
from ggufjac.maps.within.paths import LastWrites, last_writes, positions

#: How many predictions are explained where no target is given.
QUESTIONS = 4


@dataclass(frozen=True)
class TokenTerms:
    """One input token. terms: its term of every question; constants: what the constants give to every question that
    enter at its position."""

    token: Piece
    terms: tuple[float, ...]
    constants: tuple[float, ...] = ()


@dataclass(frozen=True)
class Component:
    """A triplet of the combined map. terms: its term of every question; tokens: of the first one, by token."""

    triplet: Triplet
    terms: tuple[float, ...]
    tokens: tuple[float, ...]


@dataclass(frozen=True)
class WriteTerms:
    """What the first question draws from each token, and from constants, by paths whose last write this is.

    layer, part: which write ("attn", "mlp", ...); None and "direct" for what goes past all of them. tokens: by the
    token where the paths begin; constant: those that begin at constants.
    """

    layer: int | None
    part: str
    tokens: tuple[float, ...]
    constant: float

    @property
    def total(self) -> float:
        return sum(self.tokens) + self.constant


@dataclass(frozen=True, kw_only=True)
class Attribution(MapResult):
    """One or more logits, or how far they are above others, explained; the first question in more detail.

    tokens: the prompt's, with their terms. words: that they make. sinks: positions of tokens whose states outgrow all
    others, whatever they say. components: the leading triplets. constants: what the network's constants give to every
    question; constant_sources: each of them, whose terms add up to that; constants_at_tokens: whether reports show them
    with the tokens at whose positions they enter. missed: what the rules leave out of every question, so that terms,
    constants and this add up to its value. rest: what the components that are not listed give. writes: the direct paths
    first, then in the order of the network; their columns add up to the tokens' terms. carried: for every block l what
    the first question draws from each position of the state that enters it, with the constants to come last; the last
    row is the state that leaves the network. Under rules that reconstruct every row adds up to the value. components,
    writes and carried are empty where they were not asked for (fast). heads: where they were asked for, those of
    attention that give most to the first question; layer_heads: all of them by write, which with what else each write
    gives are what `writes` says of it; headless: layers without any. phrases: where a target is several tokens, all of
    them as wholes, by the rules that each names; phrase_against: what they are held against; the rest is then about
    their first tokens.
    """

    kind: ClassVar[str] = "attribution"

    questions: tuple[Question, ...]
    tokens: tuple[TokenTerms, ...]
    words: tuple[Word, ...]
    sinks: tuple[int, ...]
    constants: tuple[float, ...]
    constant_sources: tuple[ConstantTerms, ...] = ()
    constants_at_tokens: bool = False
    phrases: tuple[Phrase, ...] = ()
    phrase_against: Phrase | None = None
    missed: tuple[float, ...]
    components: tuple[Component, ...]
    rest: tuple[float, ...]
    writes: tuple[WriteTerms, ...]
    carried: tuple[tuple[float, ...], ...]
    heads: tuple[HeadTerms, ...] = ()
    layer_heads: tuple[LayerHeads, ...] = ()
    headless: tuple[int, ...] = ()

    @property
    def given(self) -> tuple[tuple[float, ...], ...]:
        """What every token gives to every question, with the constants at its position where these are not apart."""
        if not self.constants_at_tokens:
            return tuple(row.terms for row in self.tokens)
        return tuple(tuple(map(sum, zip(row.terms, row.constants, strict=True))) for row in self.tokens)

    @property
    def apart(self) -> tuple[float, ...]:
        """What is left beside `given`: the constants of every question, where they have a row of their own."""
        return tuple(0.0 for _ in self.constants) if self.constants_at_tokens else self.constants

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The account of every question, by what tokens are given."""
        return tuple(
            Account(question, self.rules, tuple(row[i] for row in self.given), constants, missed, self.sinks)
            for i, (question, constants, missed) in enumerate(zip(self.questions, self.apart, self.missed, strict=True))
        )


def attribute(
    model: Model, prompt: PromptLike, options: AttributeOptions | None = None, progress: Progress = silent
) -> Attribution:
    """Explain logits of one prompt. Raises UserError for tokens that do not exist, and for a token against itself."""
    options = options or AttributeOptions()
    subject = Subject(model, prompt, options, progress)
    named = _several(options.target)
    spelled = [subject.spelled(each, "target") for each in named]
    rival = None if options.against is None else subject.spelled(options.against, "against")
    if rival is not None and options.above is not None:
        raise UserError("a logit is taken above another token's (against) or above what `above` names, not both")
    if rival in spelled:
        raise UserError("a token cannot be explained against itself; give two different ones")
    phrases, against_phrase = _phrases(subject, spelled, rival, options)
    # the rest of the report is about what a phrase begins with
    targets = tuple(dict.fromkeys(tokens[0] for tokens in spelled))
    against = None if rival is None or rival[0] in targets else rival[0]

    subject.lap("forward pass")
    linear = subject.linear
    subject.lap("tokens")
    asked = _questions(subject, targets, against, options)
    w, offsets = functionals(linear, asked)
    terms = linear.attribute(w)
    told = constants_of(linear, w, offsets.tolist())
    subject.require_numbers(told.worth)
    entering = told.worth.sum(0).T.tolist()
    rebuilt = subject.rebuilt(fast=options.fast)
    reconstruction = float(relative_error(rebuilt, linear.output))

    writes: LastWrites | None = None
    svd: SVD | None = None
    carried = terms.new_zeros(0, terms.shape[1])
    grid = terms.new_zeros(len(asked), 0, terms.shape[1] - 1)
    triplets: tuple[Triplet, ...] = ()
    if not options.fast:
        subject.lap("layers")
        writes = last_writes(linear, w[0])
        carried = positions(linear, w[0])
        subject.lap("components")
        svd = linear.svd(options.top, "combined", seed=options.seed)
        grid = _components(linear, w, svd)
        triplets = subject.combined_triplets(w[0], svd)
    heads: HeadAccount | None = None
    if options.heads:
        subject.lap("heads")
        heads = heads_of(subject, w[0], options.heads)

    # what the head adds to a logit is a constant like those of the network
    constants = (terms[:, -1].cpu().double() + offsets).tolist()
    missed = [
        question.value - sum(row[:-1]) - constant
        for question, row, constant in zip(asked, terms.tolist(), constants, strict=True)
    ]
    return Attribution(
        **subject.map_facts(reconstruction),
        questions=asked,
        tokens=tuple(
            TokenTerms(token, tuple(terms[:, t].tolist()), tuple(entering[t])) for t, token in enumerate(subject.pieces)
        ),
        words=subject.words,
        sinks=sinks(linear.forward_pass.states),
        constants=tuple(constants),
        constant_sources=constant_terms(told),
        constants_at_tokens=options.constants == "tokens",
        phrases=phrases,
        phrase_against=against_phrase,
        missed=tuple(missed),
        components=tuple(
            Component(triplet, tuple(grid[:, i].sum(-1).tolist()), tuple(grid[0, i].tolist()))
            for i, triplet in enumerate(triplets)
        ),
        rest=tuple((terms[:, :-1].sum(-1) - grid.sum((1, 2))).tolist()),
        writes=() if writes is None else _writes(writes, float(offsets[0])),
        carried=tuple((*row[:-1], row[-1] + float(offsets[0])) for row in carried.tolist()),
        heads=() if heads is None else heads.leading,
        layer_heads=() if heads is None else heads.layers,
        headless=() if heads is None else heads.headless,
        arrays={
            **subject.arrays(functionals=w),
            **({} if svd is None else {"components": grid, "carried": carried, **svd.arrays("combined")}),
            "constants": told.worth,
            "terms": torch.cat((terms[:, :-1], torch.tensor(constants).to(terms)[:, None]), 1),
            **({} if writes is None else {"writes": torch.cat((writes.terms, writes.constants[:, None]), 1)}),
            **({} if heads is None else {"heads": heads.terms, "attention": heads.weights}),
        },
    )


def _several(named: Tokens | None) -> Sequence[Token]:
    if named is None:
        return ()
    return [named] if isinstance(named, str | int) else named


def _phrases(
    subject: Subject, targets: Sequence[tuple[int, ...]], against: tuple[int, ...] | None, options: AttributeOptions
) -> tuple[tuple[Phrase, ...], Phrase | None]:
    """The accounts of targets, and of what they are held against, where any of them is several tokens."""
    if all(len(tokens) == 1 for tokens in (*targets, against or (0,))):
        return (), None
    subject.lap("phrases")
    # what is usual for a logit is not for the ln p of a text
    usual = options.rules == options.usual_rules() and against is None
    rules = None if usual and options.path is None else str(options.linearisation)
    found = tuple(phrase_of(subject, tokens, rules) for tokens in targets)
    return found, None if against is None else phrase_of(subject, against, rules)


def _questions(
    subject: Subject, targets: Sequence[int], against: int | None, options: AttributeOptions
) -> tuple[Question, ...]:
    """One about each target, or about each of the likeliest tokens."""
    linear = subject.linear
    if not targets:
        likeliest = linear.logits.topk(min(QUESTIONS + 1, len(linear.logits))).indices.tolist()
        targets = [token for token in likeliest if token != against][:QUESTIONS]
    return tuple(ask(linear.logits, subject.speller, target, options.above or ABOVE, against) for target in targets)


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
