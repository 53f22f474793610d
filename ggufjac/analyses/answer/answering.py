"""Why the model said that: for every token of an answer what every token before it gave, prompt and answer alike.

A text is run once. What the model said at a place is a functional of its state there, so all places are columns of one
backward sweep, each from its own position down (ggufjac.maps.text). The first account tells how likely each token was,
by the rules whose terms foretell that best; its terms are of ln p, so those of the whole answer are their sums. Where
another token was close, a second account tells what set the said one apart from it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.answer.accounts import accounts_at
from ggufjac.analyses.answer.judging import Judged, judged
from ggufjac.analyses.answer.spans import TEMPLATE, Passage, messages_of, roles_of, sentences_of
from ggufjac.analyses.answer.writing import Written, write
from ggufjac.analyses.common.account import Account, sinks
from ggufjac.analyses.common.followed import followed_of
from ggufjac.analyses.common.predictions import Prediction, prediction_of, top_predictions
from ggufjac.analyses.common.result import MapResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word, words_in
from ggufjac.analyses.options import ANSWERED, AnswerOptions, faithful_rules
from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.maps.text import TextMap

#: From this probability on a token that was not said is close, so that it is told what tipped the balance.
CLOSE = 0.01
#: How many of the closest places are told apart; and how many likely tokens are told at every place.
DECISIVE, LIKELIEST = 5, 5
#: Into what a text can be cut.
CUTS = ("token", "word", "sentence", "message", "role")


@dataclass(frozen=True)
class Said:
    """One token of the answer.

    position: in the text, from 0; its account has a term for every position before. likeliest: what was most likely to
    be said there, the first one first; runner_up: the likeliest token that was not said; tipped: how far what was said
    was above the runner-up (or above the token that was asked for), where that was close or asked for.
    """

    position: int
    account: Account
    likeliest: tuple[Prediction, ...]
    runner_up: Prediction
    tipped: Account | None

    @property
    def token(self) -> Prediction:
        """The token itself, as the model saw its chances."""
        return self.account.question.target

    @property
    def lead(self) -> float:
        """By how many logits it was above the runner-up; negative where that was likelier."""
        return self.token.logit - self.runner_up.logit


@dataclass(frozen=True, kw_only=True)
class Answer(MapResult):
    """A whole answer and where it came from. rules: those of the accounts; reconstruction: of the worst position.

    text: what was said. tokens: of the whole text, the prompt's first; n_prompt: how many are the prompt's. words,
    sentences: of the text. how: "greedy", "sampled" or "given"; ended: whether the last token ends the text or the
    turn. said: the answer's tokens. sinks: positions whose states outgrow all others, whatever they say. above: what
    the accounts are above (as in `Question`). judged: llama.cpp's opinion of every token (None: not asked). by: into
    what the text is cut where its passages are shown.
    """

    kind: ClassVar[str] = "answer"
    schema_version: ClassVar[int] = 1

    text: str
    tokens: tuple[Piece, ...]
    n_prompt: int
    words: tuple[Word, ...]
    sentences: tuple[Word, ...]
    how: str
    ended: bool
    said: tuple[Said, ...]
    sinks: tuple[int, ...]
    above: str
    judged: Judged | None
    by: str

    @property
    def log_probability(self) -> float:
        """ln p of the whole answer; a probability below all floats counts as the smallest one."""
        return sum(math.log(said.token.probability or sys.float_info.min) for said in self.said)

    @property
    def whole(self) -> tuple[float, ...]:
        """What every token of the text gives to the answer as a whole: the sum of what it gives to every token."""
        totals = [0.0] * len(self.tokens)
        for said in self.said:
            for t, term in enumerate(said.account.terms):
                totals[t] += term
        return tuple(totals)

    @property
    def decisive(self) -> tuple[Said, ...]:
        """The places where another token was the closest, in the order of the text."""
        close = sorted((said for said in self.said if said.tipped is not None), key=lambda said: abs(said.lead))
        return tuple(sorted(close[:DECISIVE], key=lambda said: said.position))

    def passages(self, by: str | None = None) -> tuple[Passage, ...]:
        """The text cut into tokens, words, sentences, messages or roles (None: as was asked for); of a chat, what the
        template wrote is one passage, the last one. Raises UserError for anything else."""
        by, n, n_prompt = by or self.by, len(self.tokens), self.n_prompt
        if by not in CUTS:
            raise UserError(f"by: {by!r} is no way to cut a text; there are {', '.join(CUTS)}")
        if by == "role":
            return roles_of(self.turns, n_prompt, n)
        messages = messages_of(self.turns, n_prompt, n)
        if by == "message":
            return messages
        template = {t for passage in messages if passage.label == TEMPLATE for t in passage.positions}
        if by == "token":
            spans = [(piece.text, t, t + 1) for t, piece in enumerate(self.tokens)]
        else:
            spans = [(s.text, s.start, s.stop) for s in (self.sentences if by == "sentence" else self.words)]
        found = [Passage(text, tuple(range(start, stop))) for text, start, stop in spans if start not in template]
        return (*found, *(passage for passage in messages if passage.label == TEMPLATE))


def answer(
    model: Model, prompt: PromptLike, options: AnswerOptions | None = None, progress: Progress = silent
) -> Answer:
    """Let the model answer a prompt, or take the answer that is given, and explain every token of it.

    Raises UserError for what `Subject` refuses, for an answer that does not fit the context, and for a token that does
    not exist.
    """
    options = options or AnswerOptions()
    subject = Subject(model, prompt, options, progress)
    against = None if options.against is None else subject.token(options.against, "against")
    if against is not None and options.above is not None:
        raise UserError("a token is taken above another one (against) or above what `above` names, not both")
    subject.lap("answering")
    written = write(model, subject.ids, options)
    text = _Text(subject, written, options)
    subject.lap("forward pass")
    linear = text.linear(options)
    subject.lap("accounts")
    error, followed, found = linear.reconstruction_error(), followed_of(linear), sinks(linear.forward_pass.states)
    accounts = accounts_at(linear, text.said, subject.speller, options.above or ANSWERED, [against] * text.n)
    subject.require_numbers(torch.tensor([error, *(account.constants for account in accounts)]))
    logits, rules = linear.logits, linear.rules
    rivals = [_runner_up(row, token) for row, token in zip(logits, written.tokens, strict=True)]
    runner_ups = [prediction_of(row, subject.speller, rival) for row, rival in zip(logits, rivals, strict=True)]
    contrast = replace(options, rules=faithful_rules("token", options.run), path=None)
    places = [i for i, rival in enumerate(runner_ups) if options.rivals == "all" or rival.probability >= CLOSE]
    if against is not None or options.rivals == "none":
        places = []
    tipped: dict[int, Account] = {}
    if places:
        if contrast.linearisation != rules:
            subject.lap("forward pass for rivals")
            del linear  # memory holds the coefficients of one
            linear = text.linear(contrast)
        subject.lap("rivals")
        made = accounts_at(linear, text.said, subject.speller, "zero", rivals, places)
        tipped = dict(zip(places, made, strict=True))
    judgement = None
    if options.verify and options.run == "exact":
        subject.lap("llama.cpp")
        judgement = judged(model, text.ids, text.n_prompt, logits, subject.speller)
    likeliest = [top_predictions(row, subject.speller, LIKELIEST) for row in logits]
    edges = (text.n_prompt, *(edge for turn in subject.turns for edge in (turn.start, turn.stop)))
    return Answer(
        **subject.facts(top_predictions(logits[0], subject.speller)),
        reconstruction=error,
        llama=followed,
        text=subject.text_of(written.tokens),
        tokens=text.pieces,
        n_prompt=text.n_prompt,
        words=text.words,
        sentences=sentences_of(text.words, edges),
        how=written.how,
        ended=written.ended,
        said=tuple(
            Said(text.n_prompt + i, replace(account, sinks=found), likeliest[i], runner_ups[i], tipped.get(i))
            for i, account in enumerate(accounts)
        ),
        sinks=found,
        above=accounts[0].question.above,
        judged=judgement,
        by=options.by,
        arrays={
            "tokens": torch.tensor(text.ids),
            "terms": _square([account.terms for account in accounts], len(text.ids)),
            "tipped": _square([account.terms for account in tipped.values()], len(text.ids)),
            "tipped.places": torch.tensor(places),
            "logits": logits,
        },
    )


class _Text:
    """Prompt and answer as one text [P + m], and what its places have in common."""

    def __init__(self, subject: Subject, written: Written, options: AnswerOptions) -> None:
        self.subject = subject
        self.said = written.tokens
        self.n = len(written.tokens)
        self.n_prompt = len(subject.ids)
        self.ids = (*subject.ids, *written.tokens)
        self.pieces = tuple(map(subject.speller.piece, self.ids))
        self.words = (*subject.words, *(_moved(word, self.n_prompt) for word in words_in(subject.speller, self.said)))

    def linear(self, options: AnswerOptions) -> TextMap:
        """The maps at all places where a token of the answer was said; the last one is said and not read."""
        positions = range(self.n_prompt - 1, len(self.ids) - 1)
        return self.subject.model.linearize_text(self.ids[:-1], positions, options, passed=self.subject.passed)


def _runner_up(logits: Tensor, said: int) -> int:
    """The likeliest token that was not said."""
    first, second = logits.topk(2).indices.tolist()
    return int(second if first == said else first)


def _moved(word: Word, by: int) -> Word:
    return Word(word.text, word.start + by, word.stop + by)


def _square(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    """Rows that end early as one [n, width], with zeros behind them."""
    out = torch.zeros(len(rows), width, dtype=torch.float64)
    for full, row in zip(out, rows, strict=True):
        full[: len(row)] = torch.tensor(row, dtype=torch.float64)
    return out
