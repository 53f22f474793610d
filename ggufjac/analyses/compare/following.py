"""What is followed from one quantisation to the other at the positions that count: the answer's logit, its ln p, KL.

At the last position of a prompt the answer is the one file's likeliest token, or one that is named; at every position
of a text it is the text's own next token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.network.tensorwise import Finals
from ggufjac.quants.memory.devices import widened

#: A text whose every position counts is read in pieces of so many tokens.
PIECE = 256
#: Logits that are looked at together.
SCORES = 1 << 23
#: The numbers that are followed, in the order in which they are kept.
LOGIT, LN_P, KL = range(3)


@dataclass(frozen=True)
class CountedText:
    """A text, or a piece of one. prompt: its number; rows: the positions that count; answers: the token that is
    followed at each of them (None: the likeliest)."""

    prompt: int
    ids: tuple[int, ...]
    rows: tuple[int, ...]
    answers: tuple[int, ...] | None


def last_positions(model: Model, prompts: Sequence[PromptLike], target: int | None) -> list[CountedText]:
    """Prompts of which the last position counts. Raises UserError for one that does not fit the model."""
    found = []
    for number, prompt in enumerate(prompts):
        ids = tuple(model.ids_of(prompt))
        found.append(CountedText(number, ids, (len(ids) - 1,), None if target is None else (target,)))
    return found


def every_position(model: Model, prompts: Sequence[PromptLike], most: int) -> list[CountedText]:
    """Texts of which every position counts that another token follows, in pieces; of each at most so many tokens.

    A piece begins as a text does, with BOS where the tokenizer adds it. Raises UserError where no token follows
    another.
    """
    found, vocab = [], model.vocab
    longest = min(PIECE, model.family.n_ctx_train)
    for number, prompt in enumerate(prompts):
        ids = tuple(model.ids_of_any(prompt)[:most])
        lead = ids[:1] if vocab.adds_bos and ids[:1] == (vocab.bos,) else ()
        step = max(1, longest - len(lead))
        for start in range(len(lead), len(ids), step):
            piece = lead + ids[start : start + step]
            if len(piece) > 1:
                found.append(CountedText(number, piece, tuple(range(len(piece) - 1)), piece[1:]))
        if not found or found[-1].prompt != number:
            raise UserError(
                f"prompt {number + 1} has one token, so that none follows another; give a longer text, or count its "
                "last position alone (--positions last)"
            )
    return found


class AnswerScores:
    """The numbers of one text's hybrids; base: the one file's own run of it.

    first, answers: the one file's likeliest tokens, and the tokens that are followed, by position.
    """

    def __init__(self, text: CountedText, base: Finals, n_vocab: int) -> None:
        self._step = max(1, SCORES // n_vocab)
        self._n = len(text.rows)
        self._own = [base.logits(at)[0] for at in self._slices]
        self._below = [widened(own).logsumexp(-1, keepdim=True) for own in self._own]
        self.first = torch.cat([own.argmax(-1) for own in self._own])
        self.answers = self.first if text.answers is None else torch.tensor(text.answers, device=self.first.device)

    @property
    def _slices(self) -> list[slice]:
        return [slice(i, min(i + self._step, self._n)) for i in range(0, self._n, self._step)]

    def of(self, finals: Finals) -> tuple[Tensor, Tensor]:
        """The numbers [n, 3, positions] float64 of hybrids, and their likeliest tokens [n, positions]."""
        numbers, likeliest = [], []
        for at, own, below in zip(self._slices, self._own, self._below, strict=True):
            logits = finals.logits(at)
            likeliest.append(logits.argmax(-1))
            ln_p = widened(own) - below
            p = ln_p.exp()
            numbers.append(torch.stack([_numbers(p, ln_p, row, self.answers[at]) for row in logits]))
        return torch.cat(numbers, -1).cpu(), torch.cat(likeliest, -1)


def _numbers(p: Tensor, ln_p: Tensor, row: Tensor, answers: Tensor) -> Tensor:
    """[3, positions] of the logits [positions, n_vocab] of a hybrid; p, ln_p: what the one file thinks, float64."""
    wide = widened(row)
    below = wide.logsumexp(-1)
    logit = wide.gather(-1, answers.to(wide.device)[:, None])[:, 0]
    return torch.stack([logit, logit - below, (p * (ln_p - wide)).sum(-1) + below])
