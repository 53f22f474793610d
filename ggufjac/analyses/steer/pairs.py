"""A text pushed along, or freed from, what sets one set of texts apart from another.

Two sets of texts, in pairs or not, give a direction for every layer (`contrast`). Held-out texts say how well each
separates the sets, and what a push along it gains at an equal price (`effects`); by the latter the layer is chosen. The
direction is added behind its layer, or taken out of the stream behind all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ggufjac.analyses.common.predictions import top_predictions
from ggufjac.analyses.common.result import PromptResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.targets import tokens_named
from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.analyses.options import SteerPairsOptions
from ggufjac.analyses.steer.concepts import is_word
from ggufjac.analyses.steer.contrast import Contrast, Kind, Separation, contrast_of, folds, separations
from ggufjac.analyses.steer.control import Exported, exportable
from ggufjac.analyses.steer.effects import NEUTRAL, Effects, Pushes, best_at_price
from ggufjac.analyses.steer.leverage import PRICE, candidate_layers
from ggufjac.analyses.steer.others import others_of, prompts_of
from ggufjac.analyses.steer.trials import PairsCandidate, ablation, along, best_kind, candidates_of, chosen_of
from ggufjac.analyses.steer.writing import Continuation, OtherPrompt, PushedText, Writer, require_steerable
from ggufjac.chat.prompt import Prompt, PromptLike
from ggufjac.errors import UserError
from ggufjac.llamacpp.control import ControlFile
from ggufjac.maps.model import Model
from ggufjac.maps.notes import text_of

#: Texts that a set has at least, so that one can be held out.
FEWEST = 2
#: Tokens that stand for the positive set are said in so many of its texts at least, and these are so many at most.
SAID_IN, COUNTED = 2, 24


@dataclass(frozen=True, kw_only=True)
class SteeredPairs(PromptResult):
    """One prompt, steered by what sets one set of texts apart from another.

    positive, negative: the sets, as text (of a chat, its last message); at: which states of a text count ("mean",
    "last"). n_layer: how many layers there are; layer: whose direction it is; direction: what it is made of; chosen:
    whether the layer was, among `candidates` (empty where it was given). separations: of every layer and kind, on
    held-out texts. distance: how far the two sets lie apart along the direction, which is what a strength of 1 adds;
    share: of the length of the stream there, the mean over all texts. ablated: the layers behind which it was taken
    out (empty: it was added). counts: the tokens that are counted; counts_given: whether they were given, or found as
    those that several of the positive texts say and no negative one. measured: whether gains are those of the counted
    tokens ("tokens") or of the positive texts ("texts"). price: at which strengths are compared, in nats a token;
    best: the strength of the largest gain at that price (None: it was taken out). temperature, top_p, top_k: how
    tokens are drawn. unsteered: what the prompt goes on with by itself; steered: with every strength, or without the
    direction; others: the same of further prompts. control: the exported file, which has the best strength at a factor
    of 1. cached: whether a step cost
    one token, or the whole text.
    """

    kind: ClassVar[str] = "steering-pairs"

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    at: str
    n_layer: int
    layer: int
    direction: str
    chosen: bool
    separations: tuple[Separation, ...]
    candidates: tuple[PairsCandidate, ...]
    distance: float
    share: float
    ablated: tuple[int, ...]
    counts: tuple[Piece, ...]
    counts_given: bool
    measured: str
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


def steer_pairs(
    model: Model,
    positive: Sequence[PromptLike],
    negative: Sequence[PromptLike],
    prompt: PromptLike,
    options: SteerPairsOptions | None = None,
    progress: Progress = silent,
) -> SteeredPairs:
    """Steer one prompt by two sets of texts.

    Raises UserError for sets of fewer than two texts or without a difference, for layers and tokens that do not exist,
    and for a text that does not fit the model's context.
    """
    options = options or SteerPairsOptions()
    subject = Subject(model, prompt, options, progress)
    a, b = _ids(model, "positive", positive), _ids(model, "negative", negative)
    if options.direction == "pca" and len(a) != len(b):
        raise UserError(
            f"the leading singular vector needs pairs; there are {len(a)} positive and {len(b)} negative texts"
        )
    given = tokens_named(model, options.counted, "counted")
    further = prompts_of(model, options)
    for ids in (subject.ids, *further):
        require_steerable(model, len(ids), options)
    wanted = None if options.export is None else _exported_layers(model, options)
    ablated = _ablated_layers(model.family.n_layer, options)
    speller = subject.speller

    subject.lap("the texts' states")
    contrast = contrast_of(
        model, a, b, options.at, options, written=options.direction in (None, "map"), passed=subject.passed
    )
    subject.require_numbers(contrast.a, contrast.b)
    held = folds(len(a), len(b), options.seed)
    found = separations(contrast, held)
    store = subject.model.family.source.placed(torch.device(options.device), options.memory).store
    writer = Writer(model, (subject.ids, *further), options, store)
    subject.lap("unsteered text")
    unsteered = [texts[0] for texts in writer.write([0.0], None)]
    counted = given or _said_by(a, b, speller)
    neutral = [model.ids_of(text) for text in options.neutral or NEUTRAL]

    def effects(spoken: Sequence[Sequence[int]]) -> Effects:
        return Effects(
            model.family,
            spoken,
            subject.ids,
            given,
            neutral,
            options.values_dtype,
            n_ctx=writer.n_ctx,
            device=options.device,
            memory=options.memory,
            store=store,
            ends=writer.ends,
        )

    layers = candidate_layers(model.family.n_layer) if options.layer is None else (options.layer,)
    kinds = {layer: best_kind(found, layer, options.direction) for layer in layers}
    tried: tuple[PairsCandidate, ...] = ()
    layer = layers[0]
    if options.layer is None:
        subject.lap("trying layers")
        measure = effects([a[i] for i in held[0].a])
        tried = candidates_of(model, contrast, held[0], list(kinds.items()), measure, ablated)
        layer = chosen_of(tried, bool(ablated)).layer
        # what separates best need not push best
        others: list[Kind] = [kind for kind in contrast.kinds if kind != kinds[layer] and options.direction is None]
        tried += candidates_of(model, contrast, held[0], [(layer, kind) for kind in others], measure, ablated)
        kinds[layer] = chosen_of(tried, bool(ablated)).kind
    kind = kinds[layer]
    v = contrast.directions(kind)[layer]
    distance = float(contrast.distances(contrast.directions(kind))[layer])
    if not distance > 0:
        raise UserError(f"the two sets have the same states behind layer {layer}: there is no direction between them")

    subject.lap("steered texts")
    strengths = (0.0,) if ablated else options.strengths

    def pushes(given: Sequence[float]) -> Pushes:
        return ablation(model, v, ablated) if ablated else along(model, layer, v * distance, given)

    texts = writer.write(strengths, lambda given: pushes(given)(slice(None)))
    subject.lap("gains and prices")
    measured = effects(a).of(pushes(strengths), len(strengths))
    best = None if ablated else best_at_price(strengths, measured)[0]
    control: Exported | None = None
    if wanted is not None and best is not None:
        subject.lap("control vector")
        control = _export(str(options.export), model, contrast, kind, best, wanted or (layer,))
    subject.lap("likelihoods")
    lengths = torch.cat((contrast.a, contrast.b))[:, layer].norm(dim=-1)
    return SteeredPairs(
        **subject.facts(top_predictions(unsteered[0].logits[0], speller)),
        positive=tuple(_shown(model, *text) for text in zip(positive, a, strict=True)),
        negative=tuple(_shown(model, *text) for text in zip(negative, b, strict=True)),
        at=options.at,
        n_layer=model.family.n_layer,
        layer=layer,
        direction=kind,
        chosen=options.layer is None,
        separations=found,
        candidates=tried,
        distance=distance,
        share=distance / float(lengths.mean()),
        ablated=ablated,
        counts=tuple(map(speller.piece, counted)),
        counts_given=bool(given),
        measured="tokens" if given else "texts",
        price=PRICE,
        best=best,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        unsteered=writer.told(unsteered[0], counted, speller),
        steered=tuple(
            PushedText(strength, writer.told(text, counted, speller), effect.gain, effect.price)
            for strength, text, effect in zip(strengths, texts[0], measured, strict=True)
        ),
        others=others_of(model, options, further, writer, unsteered, texts, counted, speller),
        control=control,
        cached=writer.cached,
        arrays=subject.arrays(
            positive=contrast.a,
            negative=contrast.b,
            direction=v,
            **{"tokens.unsteered": unsteered[0].new},
            **{f"tokens.{i}": text.new for i, text in enumerate(texts[0])},
        ),
    )


# --- the sets ----------------------------------------------------------------------------------------------------


def _ids(model: Model, name: str, texts: Sequence[PromptLike]) -> list[list[int]]:
    if len(texts) < FEWEST:
        raise UserError(
            f"the {name} set has {len(texts)} texts; it needs {FEWEST} at least, one of which is held out (ten are "
            "usual)"
        )
    return [model.ids_of(text) for text in texts]


def _shown(model: Model, given: PromptLike, ids: list[int]) -> str:
    """A text, or the last message of a chat."""
    if isinstance(given, Prompt) and given.messages:
        return given.messages[-1].content
    return text_of(model, given, ids)


def _said_by(positive: Sequence[Sequence[int]], negative: Sequence[Sequence[int]], speller: Speller) -> tuple[int, ...]:
    """Tokens of letters that several positive texts say and no negative one, the most frequent first."""
    unsaid = {token for text in negative for token in text}
    texts: dict[int, int] = {}
    for text in positive:
        for token in dict.fromkeys(text):
            texts[token] = texts.get(token, 0) + 1
    found = [
        token
        for token, n in sorted(texts.items(), key=lambda item: -item[1])
        if n >= SAID_IN and token not in unsaid and not speller.special(token) and is_word(speller.raw(token))
    ]
    return tuple(found[:COUNTED])


# --- what is done with it ------------------------------------------------------------------------------------------


def _ablated_layers(n_layer: int, options: SteerPairsOptions) -> tuple[int, ...]:
    """Behind which layers the direction is taken out; none where it is added."""
    if not options.ablate:
        if options.ablate_layers is not None:
            raise UserError("the layers of an ablation go with ablating (--ablate)")
        return ()
    if options.export is not None:
        raise UserError("llama.cpp's control vectors add a direction; what takes one out cannot be exported")
    layers = tuple(range(n_layer)) if options.ablate_layers is None else tuple(sorted(set(options.ablate_layers)))
    for layer in layers:
        if not 0 <= layer < n_layer:
            raise UserError(f"there is no layer {layer}; the model has layers 0 to {n_layer - 1}")
    return layers


def _exported_layers(model: Model, options: SteerPairsOptions) -> tuple[int, ...]:
    """The layers that were named for the file; none: the steered one."""
    if options.export_layers is not None:
        return exportable(model, options.export_layers)[0]
    exportable(model, None if options.layer is None else (options.layer,))
    return ()


def _export(
    target: str, model: Model, contrast: Contrast, kind: Kind, strength: float, layers: Sequence[int]
) -> Exported:
    """Each layer's own direction, together as strong as the best strength of one."""
    exportable(model, layers)
    directions = contrast.directions(kind)
    apart = contrast.a.mean(0) - contrast.b.mean(0)
    distances, planes = contrast.distances(directions), model.family.leaving // model.family.d
    vectors = {}
    for layer in layers:
        pushed = strength * distances[layer] / len(layers) * directions[layer]
        # one vector is added in every plane of a stream
        vectors[layer] = pushed.unflatten(0, (planes, -1)).mean(0)
    ControlFile({layer: vector.float().numpy() for layer, vector in vectors.items()}, model.file.architecture).write(
        target
    )
    cosines = tuple(float(torch.cosine_similarity(directions[at], apart[at], 0)) for at in layers)
    return Exported(target, kind, tuple(layers), (), tuple(float(v.norm()) for v in vectors.values()), cosines)
