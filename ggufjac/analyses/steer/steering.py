"""A text steered by the concept of another prompt, beside the text that the model writes by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.result import PromptResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.targets import tokens_named
from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.analyses.options import SteerOptions
from ggufjac.analyses.steer.concepts import concept_tokens, mass
from ggufjac.analyses.steer.control import Exported, directions, export, exportable
from ggufjac.analyses.steer.influences import ConceptMaps, ControlVector, Steering
from ggufjac.analyses.steer.leverage import Candidate, candidate_layers, candidates
from ggufjac.chat.prompt import PromptLike
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


@dataclass(frozen=True, kw_only=True)
class Steered(PromptResult):
    """One prompt, steered by the concept of another at one layer, with several strengths.

    concept: the other prompt. temperature, top_p, top_k: how tokens are drawn. n_layer: how many layers there are;
    layer: where the stream that leaves it was steered; chosen: whether for the largest gain; candidates: among
    these (empty where the layer was given). counts: the concept's tokens; counts_given: whether they were given, or
    found. writes: what the direction at the end of the first steered text writes through the lens at that layer.
    unsteered: what the prompt goes on with by itself; steered: with every strength. cached: whether a step cost one
    token, or the whole text. exactness: ||sum J x + c - h|| / ||h|| of the concept's map at the layer. control: the
    exported file; controlled: what the prompt goes on with when it is added with a factor of 1.
    """

    kind: ClassVar[str] = "steering"

    concept: str
    temperature: float
    top_p: float
    n_layer: int
    layer: int
    chosen: bool
    candidates: tuple[Candidate, ...]
    counts: tuple[Piece, ...]
    counts_given: bool
    writes: tuple[Piece, ...]
    unsteered: Continuation
    steered: tuple[Continuation, ...]
    control: Exported | None
    controlled: Continuation | None
    cached: bool
    exactness: float
    top_k: int = 0


def steer(
    model: Model,
    concept: PromptLike,
    prompt: PromptLike,
    options: SteerOptions | None = None,
    progress: Progress = silent,
) -> Steered:
    """Steer one prompt. Raises UserError for layers and tokens that do not exist, and for a text that does not fit the
    model's context."""
    options = options or SteerOptions()
    source = Subject(model, concept, options, progress)
    start, n_layer = Subject(model, prompt, options, decoder=source.decoder), model.family.n_layer
    ids = start.ids
    given = tokens_named(model, options.counted, "counted")
    _check(model, len(ids), options)
    wanted = None if options.export is None else exportable(model, options.export_layers)

    source.lap("the concept's map")
    linear, speller = source.linear, source.speller
    writer = _Writer(model, ids, options, linear.store)
    source.lap("unsteered text")
    unsteered = writer.write([0.0], None)[0]
    source.lap("the concept's tokens")
    counted = given or concept_tokens(
        linear, linear.logits, unsteered.usual, source.decoder, model.vocab, seed=options.seed
    )
    tried: tuple[Candidate, ...] = ()
    layer = options.layer
    if layer is None:
        source.lap("trying layers")
        tried = candidates(
            ConceptMaps(model.family, linear, candidate_layers(n_layer)),
            unsteered.whole,
            len(ids) - 1,
            counted,
            n_ctx=writer.n_ctx,
            memory=options.memory,
        )
        layer = max(tried, key=lambda candidate: (candidate.gain, -candidate.layer)).layer

    source.lap("steered texts")
    maps = ConceptMaps(model.family, linear, (layer,))
    steering = Steering(maps, [layer] * len(options.strengths), options.strengths)
    texts = writer.write(options.strengths, steering)
    control: Exported | None = None
    if wanted is not None and options.export is not None:
        source.lap("control vector")
        layers, left_out = wanted
        found, cosines = directions(
            model, maps, unsteered.whole, layers, options.directions, seed=options.seed, n_ctx=writer.n_ctx
        )
        texts += writer.write([1.0], ControlVector(model.family, found))
        control = export(options.export, model, found, options.directions, left_out, cosines)

    source.lap("likelihoods")
    told = [writer.told(text, counted, speller) for text in (unsteered, *texts)]
    n = 1 + len(options.strengths)
    return Steered(
        **{**source.facts(), "prompt": start.prompt, "turns": start.turns, "notes": start.notes},
        concept=source.prompt,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        n_layer=n_layer,
        layer=layer,
        chosen=options.layer is None,
        candidates=tried,
        counts=tuple(speller.piece(token) for token in counted),
        counts_given=bool(given),
        writes=source.writes(maps.seen(layer, steering.directions[:1, -1]), WRITES)[0],
        unsteered=told[0],
        steered=tuple(told[1:n]),
        control=control,
        controlled=told[n] if control is not None else None,
        cached=writer.cached,
        exactness=float(maps.misses()[0]),
        arrays={
            "concept": torch.tensor(source.ids),
            "prompt": torch.tensor(ids),
            "written": maps.written[0],
            "directions": steering.directions,
            "tokens.unsteered": unsteered.new,
            **{f"tokens.{i}": text.new for i, text in enumerate(texts[: n - 1])},
            **({} if control is None else {"control": torch.stack(list(found.values()))}),
        },
    )


def _check(model: Model, n_tokens: int, options: SteerOptions) -> None:
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
    if not options.strengths or not all(math.isfinite(x) and x != 0 for x in options.strengths):
        raise UserError("strengths must be finite and not 0: the text that is not steered is written in any case")


@dataclass(frozen=True)
class _Written:
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


class _Writer:
    """Lets the prompt go on; store: where a device has the weights."""

    def __init__(self, model: Model, ids: Sequence[int], options: SteerOptions, store: DeviceWeights | None) -> None:
        self._model = model
        self._prompt = torch.tensor(list(ids))
        self._options = options
        self._store = store
        self._known = model.vocab.n_tokens
        self.n_ctx = len(ids) + options.tokens
        self.cached = model.family.resumes

    def write(self, strengths: Sequence[float], influence: Influence | None) -> list[_Written]:
        o = self._options
        reading = Reading(
            self._model.family,
            self.n_ctx,
            o.values_dtype,
            influence=influence,
            device=o.device,
            memory=o.memory,
            store=self._store,
        )
        n = len(strengths)
        steps = list(goes_on(reading, self._prompt.expand(n, -1), o.tokens, o.sampling, self._ends))
        tokens = torch.stack([step.tokens for step in steps], 1)
        lengths = torch.stack([step.alive for step in steps], 1).sum(1).tolist()
        logits = torch.stack([step.logits.cpu() for step in steps], 1)
        return [
            _Written(
                strengths[i],
                self._prompt,
                tokens[i, : lengths[i]],
                logits[i, : lengths[i]],
                self._ends(int(tokens[i, lengths[i] - 1])),
            )
            for i in range(n)
        ]

    def told(self, text: _Written, counted: tuple[int, ...], speller: Speller) -> Continuation:
        """What there is to say about a text, the model that is not steered being its judge."""
        o, new = self._options, text.new
        (logits,) = logits_of_texts(
            self._model.family,
            text.whole[None, :-1],
            o.values_dtype,
            first=len(self._prompt) - 1,
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
            likelihood=_mean_ln_p(logits[0].cpu(), new),
            own=_mean_ln_p(text.logits, new),
        )

    def _ends(self, token: int) -> bool:
        return token < self._known and self._model.vocab.ends_text(token)

    def _spelled(self, tokens: Sequence[int]) -> str:
        """The text of tokens that follow others."""
        known = [token for token in tokens if token < self._known]
        return b"".join(self._model.vocab.piece(token) for token in known).decode("utf-8", "backslashreplace")


def _mean_ln_p(logits: Tensor, tokens: Tensor) -> float:
    return float(logits.double().log_softmax(-1).gather(-1, tokens[:, None]).mean())
