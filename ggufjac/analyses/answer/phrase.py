"""A target of several tokens: how likely the whole of it is, token by token and as a sum.

ln p of a text is the sum of its tokens', each behind those before it. So prompt and text are run as one, and every
token's account is a column of one sweep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ggufjac.analyses.answer.accounts import accounts_at
from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.predictions import Prediction
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.options import RANKING, faithful_rules
from ggufjac.maps.text import TextMap
from ggufjac.network.variants import WholePrompt


@dataclass(frozen=True)
class Phrase:
    """A text that follows a prompt. accounts: of its tokens, of ln p above chance; each has a term for every token of
    the prompt and of the text before it."""

    text: str
    accounts: tuple[Account, ...]

    @property
    def tokens(self) -> tuple[Prediction, ...]:
        """Its tokens, each as the model saw its chances behind those before."""
        return tuple(account.question.target for account in self.accounts)

    @property
    def rules(self) -> str:
        return self.accounts[0].rules

    @property
    def log_probability(self) -> float:
        """ln p of the whole."""
        return sum(math.log(token.probability) if token.probability else -math.inf for token in self.tokens)

    @property
    def value(self) -> float:
        """ln p of the whole above chance, which terms, own, constants and missed add up to."""
        return sum(account.question.value for account in self.accounts)

    @property
    def terms(self) -> tuple[float, ...]:
        """What every token of the prompt gives to the whole."""
        n = len(self.accounts[0].terms)
        return tuple(sum(account.terms[t] for account in self.accounts) for t in range(n))

    @property
    def own(self) -> float:
        """What its tokens give to those that follow them."""
        n = len(self.accounts[0].terms)
        return sum(sum(account.terms[n:]) for account in self.accounts)

    @property
    def constants(self) -> float:
        return sum(account.constants for account in self.accounts)

    @property
    def missed(self) -> float:
        return sum(account.missed for account in self.accounts)


@dataclass(frozen=True)
class PhraseLens:
    """A phrase in what leaves a layer, if that went to the output norm and the head: ln p of every token of it."""

    layer: int
    tokens: tuple[float, ...]

    @property
    def log_probability(self) -> float:
        return sum(self.tokens)


def phrase_map(
    subject: Subject, tokens: tuple[int, ...], rules: str | None = None, run: Literal["exact"] | None = None
) -> TextMap:
    """The maps at the positions where the tokens of a text are said behind the subject's prompt, by these rules and of
    this run (None: the subject's)."""
    ids, options = (*subject.ids, *tokens[:-1]), subject.options
    if rules is not None:
        options = replace(options, rules=rules, path=None)
    options = replace(options, run=run or options.run)
    return subject.model.linearize_text(ids, range(len(subject.ids) - 1, len(ids)), options, passed=subject.passed)


def phrase_of(subject: Subject, tokens: tuple[int, ...], rules: str | None = None) -> Phrase:
    """The account of a text by these rules (None: the most faithful to ln p). A pass and a sweep."""
    return accounted(
        subject, phrase_map(subject, tokens, rules or faithful_rules(RANKING, subject.options.run)), tokens
    )


def accounted(subject: Subject, linear: TextMap, tokens: tuple[int, ...]) -> Phrase:
    """The account of the phrase of `phrase_map` by the map's rules."""
    accounts = accounts_at(linear, tokens, subject.speller, RANKING)
    return Phrase(subject.text_of(tokens), tuple(accounts))


def phrase_lens(subject: Subject, linear: TextMap, tokens: tuple[int, ...]) -> tuple[PhraseLens, ...]:
    """The phrase of `phrase_map` in what leaves every layer: norms and heads, and no sweep."""
    family, done = subject.model.family, linear.forward_pass
    found = []
    for layer, state in enumerate(done.states[1:]):
        there = state if state.shape[-2] == len(tokens) else state[..., list(linear.positions), :]
        run = done.run.elsewhere()
        logits = family.head.value(run, family.output_norm.value(run, there)).cpu()
        found.append(PhraseLens(layer, tuple(_ln_p(logits, tokens).tolist())))
    return tuple(found)


def phrase_changes(
    subject: Subject, linear: TextMap, tokens: tuple[int, ...], positions: Sequence[int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """By how much ln p of the phrase of `phrase_map` changes in exact arithmetic with the vector at each of the
    prompt's positions set to 0, and without the token there (nothing where the prompt has only one)."""
    o, k = subject.options, len(tokens)
    whole = WholePrompt(subject.model.family, torch.tensor(linear.tokens), linear.inputs, o.memory, linear.store)
    before = float(_ln_p(linear.logits, tokens).sum())
    zeroed = _ln_p(whole.zeroed(positions, k).cpu(), tokens).sum(-1) - before
    if len(subject.ids) < 2:
        return tuple(zeroed.tolist()), ()
    left_out = _ln_p(whole.left_out(positions, k).cpu(), tokens).sum(-1) - before
    return tuple(zeroed.tolist()), tuple(left_out.tolist())


def _ln_p(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """[..., k]: ln p of each token by its own row of logits [..., k, n_vocab]."""
    rows = logits.double().log_softmax(-1)
    return rows[..., range(len(tokens)), list(tokens)]
