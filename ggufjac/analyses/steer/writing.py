"""Texts that a prompt goes on with while something pushes the stream, and what is told of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.analyses.options import SteerOptions
from ggufjac.analyses.steer.concepts import mass
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.network.texts import Influence, Reading, goes_on, logits_of_texts
from ggufjac.quants.memory.store import DeviceWeights

#: Tokens of a decoded direction that a result keeps.
WRITES = 8


@dataclass(frozen=True)
class Continuation:
    """What a prompt goes on with.

    strength: 0 for the text that is not steered. text, tokens: the new ones; ended: whether the model came to an end.
    counted: how many of the tokens are the concept's; mass: the probability that the next token is one of them, on
    average over the steps. likelihood: mean ln p of the tokens under the model that is not steered, in nats; own: under
    the one that wrote them.
    """

    strength: float
    text: str
    tokens: tuple[Piece, ...]
    ended: bool
    counted: int
    mass: float
    likelihood: float
    own: float


@dataclass(frozen=True)
class PushedText:
    """A text that was steered, or freed from a direction. strength: 0 where it was taken out; gain, price: in nats a
    token, as `effects` says."""

    strength: float
    text: Continuation
    gain: float
    price: float


@dataclass(frozen=True)
class OtherPrompt:
    """What one more prompt goes on with: unsteered, and steered with every strength."""

    prompt: str
    unsteered: Continuation
    steered: tuple[Continuation, ...]


#: Makes what pushes texts with strengths of their own.
Pushing = Callable[[Sequence[float]], Influence]


def require_steerable(model: Model, n_tokens: int, options: SteerOptions) -> None:
    """Raise UserError for layers and strengths that there are not, and for a text that does not fit."""
    n_layer, n_ctx = model.family.n_layer, model.family.n_ctx_train
    if options.layer is not None and not 0 <= options.layer < n_layer:
        raise UserError(f"there is no layer {options.layer}; the model has layers 0 to {n_layer - 1}")
    if options.tokens < 1:
        raise UserError(f"{options.tokens} tokens are no text; ask for at least 1")
    if n_tokens + options.tokens > n_ctx:
        raise UserError(
            f"the prompt's {n_tokens} tokens and {options.tokens} more do not fit the model's context of {n_ctx}; "
            f"ask for at most {n_ctx - n_tokens}"
        )
    if not (options.strengths or options.sought) or not all(math.isfinite(x) and x != 0 for x in options.strengths):
        raise UserError("strengths must be finite and not 0: the text that is not steered is written in any case")


@dataclass(frozen=True)
class WrittenText:
    """A text as it was written: prompt and new tokens, the logits [m, n_vocab] of every step."""

    strength: float
    prompt: Tensor
    new: Tensor
    logits: Tensor
    ended: bool

    @property
    def whole(self) -> Tensor:
        return torch.cat((self.prompt, self.new))

    @property
    def usual(self) -> Tensor:
        """How likely every token was, on average over the steps."""
        return self.logits.double().softmax(-1).mean(0)


class Writer:
    """Lets prompts go on, side by side; store: where a device has the weights."""

    def __init__(
        self, model: Model, prompts: Sequence[Sequence[int]], options: SteerOptions, store: DeviceWeights | None
    ) -> None:
        self._model = model
        self._prompts = [list(ids) for ids in prompts]
        self._options = options
        self._store = store
        self._known = model.vocab.n_tokens
        self.n_ctx = max(map(len, self._prompts)) + options.tokens
        self.cached = model.family.resumes

    def write(self, strengths: Sequence[float], pushing: Pushing | None) -> list[list[WrittenText]]:
        """What every prompt goes on with, with every strength."""
        o = self._options
        cases = [(ids, strength) for ids in self._prompts for strength in strengths]
        reading = Reading(
            self._model.family,
            self.n_ctx,
            o.values_dtype,
            influence=None if pushing is None else pushing([strength for _, strength in cases]),
            device=o.device,
            memory=o.memory,
            store=self._store,
        )
        steps = list(goes_on(reading, [ids for ids, _ in cases], o.tokens, o.sampling, self.ends))
        tokens = torch.stack([step.tokens for step in steps], 1)
        alive = torch.stack([step.alive for step in steps], 1)
        logits = torch.stack([step.logits.cpu() for step in steps], 1)
        texts = [
            WrittenText(
                strength,
                torch.tensor(ids),
                tokens[i, alive[i]],
                logits[i, alive[i]],
                self.ends(int(tokens[i, alive[i]][-1])),
            )
            for i, (ids, strength) in enumerate(cases)
        ]
        n = len(strengths)
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    def told(self, text: WrittenText, counted: tuple[int, ...], speller: Speller) -> Continuation:
        """What there is to say about a text, the model that is not steered being its judge."""
        o, new = self._options, text.new
        (logits,) = logits_of_texts(
            self._model.family,
            text.whole[None, :-1],
            o.values_dtype,
            first=len(text.prompt) - 1,
            n_ctx=self.n_ctx,
            device=o.device,
            memory=o.memory,
            store=self._store,
        )
        return Continuation(
            strength=text.strength,
            text=self._spelled(new.tolist()),
            tokens=tuple(speller.piece(token) for token in new.tolist()),
            ended=text.ended,
            counted=int(torch.isin(new, torch.tensor(counted)).sum()),
            mass=float(mass(text.logits, counted).exp().mean()),
            likelihood=mean_ln_p(logits[0].cpu(), new),
            own=mean_ln_p(text.logits, new),
        )

    def ends(self, token: int) -> bool:
        return token < self._known and self._model.vocab.ends_text(token)

    def _spelled(self, tokens: Sequence[int]) -> str:
        """The text of tokens that follow others."""
        known = [token for token in tokens if token < self._known]
        return b"".join(self._model.vocab.piece(token) for token in known).decode("utf-8", "backslashreplace")


def mean_ln_p(logits: Tensor, tokens: Tensor) -> float:
    return float(logits.double().log_softmax(-1).gather(-1, tokens[:, None]).mean())
