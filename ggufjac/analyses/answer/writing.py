"""The answer that is explained: what the model says, by exact arithmetic or by llama.cpp, or what one says it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from ggufjac.analyses.options import AnswerOptions
from ggufjac.errors import UserError
from ggufjac.llamacpp.tensors import Array
from ggufjac.maps.model import Model
from ggufjac.network.followed.follow import runner
from ggufjac.network.forward import rounded_context
from ggufjac.network.texts import Reading, Sampling, goes_on


@dataclass(frozen=True)
class Written:
    """tokens: of the answer, one at least. how: "greedy", "sampled" or "given". ended: whether the last token ends the
    text or the turn."""

    tokens: tuple[int, ...]
    how: str
    ended: bool


def write(model: Model, prompt: Sequence[int], options: AnswerOptions) -> Written:
    """The answer to a prompt [P].

    Raises UserError where nothing fits the context behind the prompt, and for an answer without tokens.
    """
    if options.say is not None:
        if not options.say:
            raise UserError("the answer is empty; give at least one character")
        given = tuple(model.continuation(prompt, options.say))
        _require_room(model, len(prompt) + len(given) - 1)
        return Written(given, "given", _ends(model, given[-1]))
    _require_room(model, len(prompt) + 1)
    # the last token is said and not read
    n_tokens = min(options.tokens, model.family.n_ctx_train - len(prompt) + 1)
    said = _by_llama if options.run == "llama.cpp" else _exactly
    tokens = said(model, prompt, options, n_tokens, options.sampling)
    return Written(tokens, "greedy" if options.temperature == 0 else "sampled", _ends(model, tokens[-1]))


def _exactly(model: Model, prompt: Sequence[int], o: AnswerOptions, n: int, sampling: Sampling) -> tuple[int, ...]:
    reading = Reading(model.family, len(prompt) + n, o.values_dtype, device=o.device, memory=o.memory)
    steps = goes_on(reading, torch.tensor([list(prompt)]), n, sampling, partial(_ends, model))
    return tuple(int(step.tokens[0]) for step in steps)


def _by_llama(model: Model, prompt: Sequence[int], o: AnswerOptions, n: int, sampling: Sampling) -> tuple[int, ...]:
    choose = sampling.chooser(1)

    def chosen(logits: Array) -> int:
        return int(choose(torch.from_numpy(logits)[None])[0])

    with runner(model.family, rounded_context(len(prompt) + n), o.llama) as llama:
        return tuple(llama.goes_on(prompt, n, chosen, partial(_ends, model)))


def _ends(model: Model, token: int) -> bool:
    # a head may have more rows than the tokenizer has tokens
    return token < model.vocab.n_tokens and model.vocab.ends_text(token)


def _require_room(model: Model, n_tokens: int) -> None:
    if n_tokens > model.family.n_ctx_train:
        raise UserError(
            f"prompt and answer have {n_tokens} tokens; the model's context holds {model.family.n_ctx_train}: shorten "
            "the prompt"
        )
