"""The main analysis: what is predicted, by which input tokens, through which singular vectors."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.answer.phrase import Phrase, phrase_of
from ggufjac.analyses.common.account import Account, accounts_of
from ggufjac.analyses.common.agreement import Agreement
from ggufjac.analyses.common.constants import ConstantTerms, constant_terms, constants_of
from ggufjac.analyses.common.predictions import Prediction, Triplet
from ggufjac.analyses.common.result import MapResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.analyses.judge.ask import Judge
from ggufjac.analyses.options import AnalyzeOptions
from ggufjac.chat.prompt import PromptLike
from ggufjac.maps.linear import SVD
from ggufjac.maps.model import Model
from ggufjac.maps.swept import relative_error


@dataclass(frozen=True)
class TokenRow:
    """One input token. output_share: its share of the output, y_t . y / |y|^2; logit: its term of the target's logit;
    stable_rank, triplets: of its own map."""

    token: Piece
    output_share: float
    logit: float
    stable_rank: float
    triplets: tuple[Triplet, ...]


@dataclass(frozen=True, kw_only=True)
class Analysis(MapResult):
    """One prompt, explained. Shares of the output add up to 1 and logits to the target's logit, constant included.

    accounts, words: what every token gives to the prediction under the most faithful rules, to what sets it apart from
    its rivals and to its probability; and the words that the tokens make. target: the token whose logit is attributed.
    constant_share, constant_logit: what constants (biases) give to the output and to that logit; constant_sources: what
    each of them gives to the logit. combined, combined_stable_rank: of the map of all tokens together. norms_exact:
    whether the stable ranks come from the full map or from random probes. Where spectra were not asked for (fast),
    there are no triplets, and stable ranks are NaN. ordinary: the reconstruction error of the
    ordinary Jacobian (None: not asked for). agreement: None when llama.cpp was not asked, with the reason in
    agreement_note. llama_prediction: llama.cpp's first token. Where llama.cpp's own run is explained, the output, its
    logits and the predictions are llama.cpp's.
    """

    kind: ClassVar[str] = "analysis"

    accounts: tuple[Account, ...]
    words: tuple[Word, ...]
    target: Prediction
    tokens: tuple[TokenRow, ...]
    constant_share: float
    constant_logit: float
    constant_sources: tuple[ConstantTerms, ...] = ()
    combined: tuple[Triplet, ...]
    combined_stable_rank: float
    norms_exact: bool
    ordinary: float | None
    agreement: Agreement | None
    agreement_note: str
    llama_prediction: Piece | None
    phrase: Phrase | None = None  # a target of several tokens as a whole; the rest is about its first one


def analyze(
    model: Model,
    prompt: PromptLike,
    options: AnalyzeOptions | None = None,
    progress: Progress = silent,
    judge: Judge | None = None,
) -> Analysis:
    """The analysis of one prompt, with the arrays behind it. judge: whom to ask (None: a new one)."""
    options = options or AnalyzeOptions()
    if options.ordinary:
        options.require_derivatives()
    subject = Subject(model, prompt, options, progress)
    spelled = () if options.target is None else subject.spelled(options.target)
    asked = spelled[0] if spelled else None
    subject.lap("account")
    phrase = phrase_of(subject, spelled) if len(spelled) > 1 else None
    accounts = accounts_of(subject, asked)
    target = subject.target(asked)
    linear = subject.linear
    functional, offset = linear.logit_functional(target.token.id)

    subject.lap("reconstruction")
    y = linear.output
    shares, logits = linear.attribute(torch.stack((y / (y @ y), functional))).cpu()
    rebuilt = subject.rebuilt(fast=options.fast)
    told = constants_of(linear, functional[None], [offset])
    subject.require_numbers(told.worth)
    ordinary = None
    if options.ordinary:
        subject.lap("ordinary Jacobian")
        derivative = subject.linearized(replace(options, rules="ordinary", path=None), linear.held_bytes)
        ordinary = derivative.reconstruction_error()

    each = combined = norms = None
    norms_exact = False
    if not options.fast:
        subject.lap("singular vectors")
        each = linear.svd(options.top, "each", seed=options.seed) if options.tokens != "combined" else None
        combined = linear.svd(options.top, "combined", seed=options.seed)
        norms, norms_exact = linear.squared_norms(combined, seed=options.seed)
        subject.lap("decoding")
    for svd in (each, combined):
        if svd is not None:
            subject.require_numbers(svd.residuals[svd.S > 0])
    rows = _token_rows(subject, shares, logits, functional, each, norms)
    triplets: tuple[Triplet, ...] = ()
    if combined is not None and options.tokens != "each":
        triplets = subject.combined_triplets(functional, combined)

    subject.lap("llama.cpp")
    agreement, note = _opinion(subject, options, judge)
    return Analysis(
        **subject.map_facts(float(relative_error(rebuilt, y))),
        accounts=accounts,
        phrase=phrase,
        words=subject.words,
        target=target,
        tokens=rows,
        constant_share=float(shares[-1]),
        constant_logit=float(logits[-1]) + offset,
        constant_sources=constant_terms(told),
        combined=triplets,
        combined_stable_rank=_stable_rank(combined, norms),
        norms_exact=norms_exact,
        ordinary=ordinary,
        agreement=agreement,
        agreement_note=note,
        llama_prediction=subject.speller.piece(agreement.theirs) if agreement else None,
        arrays=_arrays(subject, torch.stack((shares, logits)), rebuilt, each, combined),
    )


def _stable_rank(combined: SVD | None, norms: Tensor | None) -> float:
    """Of the map of all tokens together; NaN where it was not asked for."""
    return float("nan") if combined is None or norms is None else float(norms.sum() / combined.S[0].square())


def _opinion(subject: Subject, options: AnalyzeOptions, judge: Judge | None) -> tuple[Agreement | None, str]:
    if not options.verify:
        return None, "--no-verify"
    with ExitStack() as stack:
        return (judge or stack.enter_context(Judge(subject.model))).ask(subject.linear)


def _token_rows(
    subject: Subject, shares: Tensor, logits: Tensor, functional: Tensor, each: SVD | None, norms: Tensor | None
) -> tuple[TokenRow, ...]:
    n_tokens = len(subject.ids)
    own: list[tuple[Triplet, ...]] = [()] * n_tokens
    ranks = [float("nan")] * n_tokens
    if each is not None and norms is not None:
        ranks = (norms / each.S[:, 0].square()).tolist()
        own = subject.token_triplets(functional, each)
    return tuple(
        TokenRow(token, float(shares[t]), float(logits[t]), ranks[t], own[t]) for t, token in enumerate(subject.pieces)
    )


def _arrays(
    subject: Subject, terms: Tensor, rebuilt: Tensor, each: SVD | None, combined: SVD | None
) -> dict[str, Tensor]:
    linear = subject.linear
    arrays = subject.arrays(
        inputs=linear.inputs, output=linear.output, rebuilt=rebuilt, logits=linear.logits, terms=terms
    )
    for name, found in (("combined", combined), ("each", each)):
        arrays |= {} if found is None else found.arrays(name)
    return arrays
