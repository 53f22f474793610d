"""A text pushed towards words: those that are named, or a concept prompt's own.

The direction is the one that makes the model say them (`saying`), added at one layer at every position, as hard as the
price allows that ordinary text may cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.predictions import top_predictions
from ggufjac.analyses.common.result import PromptResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.targets import tokens_named
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.options import SteerWordsOptions
from ggufjac.analyses.steer.control import Exported, exportable
from ggufjac.analyses.steer.effects import NEUTRAL, Effect, Effects
from ggufjac.analyses.steer.leverage import PRICE
from ggufjac.analyses.steer.others import others_of, prompts_of
from ggufjac.analyses.steer.saying import own_words, saying, usual_layer
from ggufjac.analyses.steer.search import strengths_at
from ggufjac.analyses.steer.trials import along
from ggufjac.analyses.steer.writing import Continuation, OtherPrompt, PushedText, Writer, require_steerable
from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.llamacpp.control import ControlFile
from ggufjac.maps.model import Model
from ggufjac.maps.notes import text_of
from ggufjac.network.texts import Influence, states_of_text

#: Where no strengths are named: those at which a token of ordinary text costs so much, as shares of the price.
SHARES = (0.5, 1.0, 2.0)
#: Where the search for them begins; 1 is half of the stream's usual length.
START = 0.4


@dataclass(frozen=True, kw_only=True)
class SteeredWords(PromptResult):
    """One prompt, steered towards words.

    concept: the prompt whose own words they are ("": they were named); words: their tokens; counts: the tokens that are
    counted; counts_given: whether they were given, or are the words. n_layer: how many layers there are; layer: what
    leaves it was pushed; length: what a strength of 1 adds, half of the stream's usual length there. price: in nats a
    token of ordinary text, what the strength `best` costs, which was sought (None: strengths were given). temperature,
    top_p, top_k: how tokens are drawn. unsteered: what the prompt goes on with by itself; steered: with every strength;
    others: the same of further prompts. control: the exported file, with the best strength, or the first one that was
    given. cached: whether a step cost one token, or the whole text.
    """

    kind: ClassVar[str] = "steering-words"

    concept: str
    words: tuple[Piece, ...]
    counts: tuple[Piece, ...]
    counts_given: bool
    n_layer: int
    layer: int
    length: float
    price: float
    best: float | None
    temperature: float
    top_p: float
    top_k: int
    unsteered: Continuation
    steered: tuple[PushedText, ...]
    others: tuple[OtherPrompt, ...]
    control: Exported | None
    cached: bool


def steer_words(
    model: Model,
    concept: PromptLike | None,
    prompt: PromptLike,
    options: SteerWordsOptions | None = None,
    progress: Progress = silent,
) -> SteeredWords:
    """Steer one prompt towards a concept prompt's own words (None: those that the options say).

    Raises UserError where there are no words or both, for layers and tokens that do not exist, for texts that do not
    fit the model's context, and for a model whose stream has several planes.
    """
    options = options or SteerWordsOptions()
    subject = Subject(model, prompt, options, progress)
    further, ids = prompts_of(model, options), [] if concept is None else model.ids_of(concept)
    if (concept is None) == (options.say is None):
        raise UserError("give either a concept prompt or words to say, and not both")
    named = [options.say] if isinstance(options.say, str | int) else options.say or ()
    said = tuple(token for word in named for token in _word(model, word))
    given = tokens_named(model, options.counted, "counted")
    for each in (subject.ids, *further):
        require_steerable(model, len(each), options)
    layer = usual_layer(model.family.n_layer) if options.layer is None else options.layer
    exported = _exported(model, layer, options)

    store = subject.model.family.source.placed(torch.device(options.device), options.memory).store
    writer = Writer(model, (subject.ids, *further), options, store)
    neutral = [model.ids_of(text) for text in options.neutral or NEUTRAL]

    def effects(counted: tuple[int, ...]) -> Effects:
        return Effects(
            model.family,
            (),
            subject.ids,
            counted,
            neutral,
            options.values_dtype,
            n_ctx=writer.n_ctx,
            device=options.device,
            memory=options.memory,
            store=store,
            ends=writer.ends,
        )

    subject.lap("ordinary text")
    measured = effects(given or said)
    words = said or own_words(ids, measured.usual, model.vocab)
    if not words:
        raise UserError(
            "the concept has no word that ordinary text does not say as often; name words with --say, or use --method "
            "operator"
        )
    if not (given or said):
        measured = effects(words)
    subject.lap("the words' direction")
    found = saying(model, words, sorted({layer, *exported}), options, subject.passed)
    length = _half_length(model, neutral, layer, options)
    v = found[layer] * length

    def pushing(strengths: Sequence[float]) -> Influence:
        return along(model, layer, v, strengths)(slice(None))

    def prices(_: Sequence[int], strengths: Sequence[float]) -> list[Effect]:
        told = measured.prices(along(model, layer, v, strengths), len(strengths))
        return [Effect(0.0, price) for price in told]

    strengths, best = options.strengths, None
    if not strengths:
        subject.lap("strengths")
        sought = strengths_at([share * PRICE for share in SHARES], [START * share**0.5 for share in SHARES], prices)
        strengths = tuple(strength for strength, _ in sought)
        best = strengths[SHARES.index(1.0)]
    subject.lap("unsteered text")
    unsteered = [texts[0] for texts in writer.write([0.0], None)]
    subject.lap("steered texts")
    texts = writer.write(strengths, pushing)
    subject.lap("gains and prices")
    told = measured.of(along(model, layer, v, strengths), len(strengths))
    control: Exported | None = None
    if options.export is not None:
        subject.lap("control vector")
        push = strengths[0] if best is None else best
        lengths = {at: _half_length(model, neutral, at, options) for at in exported}
        vectors = {at: push * lengths[at] / len(exported) * found[at] for at in exported}
        control = _export(str(options.export), model, vectors)
    subject.lap("likelihoods")
    counted, speller = given or words, subject.speller
    return SteeredWords(
        **subject.facts(top_predictions(unsteered[0].logits[0], speller)),
        concept="" if concept is None else text_of(model, concept, ids),
        words=tuple(map(speller.piece, words)),
        counts=tuple(map(speller.piece, counted)),
        counts_given=bool(given),
        n_layer=model.family.n_layer,
        layer=layer,
        length=length,
        price=PRICE,
        best=best,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        unsteered=writer.told(unsteered[0], counted, speller),
        steered=tuple(
            PushedText(strength, writer.told(text, counted, speller), effect.gain, effect.price)
            for strength, text, effect in zip(strengths, texts[0], told, strict=True)
        ),
        others=others_of(model, options, further, writer, unsteered, texts, counted, speller),
        control=control,
        cached=writer.cached,
        arrays=subject.arrays(
            direction=found[layer],
            **{"tokens.unsteered": unsteered[0].new},
            **{f"tokens.{i}": text.new for i, text in enumerate(texts[0])},
        ),
    )


def _word(model: Model, word: str | int) -> Sequence[int]:
    """The tokens of a word that is named. Raises UserError for one without any."""
    if isinstance(word, int) or (word.startswith("#") and word[1:].isdigit()):
        return tokens_named(model, word, "--say")
    if not word.strip():
        raise UserError("--say: the word is empty; give at least one character")
    return model.vocab.tokenize(word, add_special=False)


def _half_length(model: Model, neutral: Sequence[Sequence[int]], layer: int, options: SteerWordsOptions) -> float:
    """Half of the stream's usual length, the median over the positions of ordinary texts but the first."""
    found: list[Tensor] = []
    for ids in neutral:
        states = states_of_text(
            model.family, torch.tensor(ids), options.values_dtype, n_ctx=len(ids), device=options.device
        )
        first = 1 if len(ids) > 1 else 0
        found.append(states[layer + 1][first:, : model.family.leaving].norm(dim=-1).cpu())
    return float(torch.cat(found).median() / 2)


def _exported(model: Model, layer: int, options: SteerWordsOptions) -> tuple[int, ...]:
    """The layers of the control vector."""
    if options.export is None:
        return ()
    return exportable(model, options.export_layers or (layer,))[0]


def _export(target: str, model: Model, vectors: dict[int, Tensor]) -> Exported:
    file = ControlFile({layer: v.float().numpy() for layer, v in vectors.items()}, model.file.architecture)
    file.write(target)
    return Exported(target, "words", tuple(vectors), (), tuple(float(v.norm()) for v in vectors.values()), ())
