"""A text steered by the concept of another prompt, beside the text that the model writes by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ggufjac.analyses.common.result import PromptResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.targets import tokens_named
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.options import SteerOptions
from ggufjac.analyses.steer.concepts import concept_tokens
from ggufjac.analyses.steer.control import Exported, directions, export, exportable
from ggufjac.analyses.steer.influences import ConceptMaps, ControlVector, Steering
from ggufjac.analyses.steer.leverage import Candidate, candidate_layers, candidates
from ggufjac.analyses.steer.others import others_of, prompts_of
from ggufjac.analyses.steer.writing import WRITES, Continuation, OtherPrompt, Writer, require_steerable
from ggufjac.chat.prompt import PromptLike
from ggufjac.maps.model import Model


@dataclass(frozen=True, kw_only=True)
class Steered(PromptResult):
    """One prompt, steered by the concept of another at one layer, with several strengths.

    concept: the other prompt. temperature, top_p, top_k: how tokens are drawn. n_layer: how many layers there are;
    layer: where the stream that leaves it was steered; chosen: whether for the largest gain; candidates: among these
    (empty where the layer was given). counts: the concept's tokens; counts_given: whether they were given, or found.
    along: whether the text's own vectors were given to the maps ("text"), or the concept's ("end"). writes: what the
    direction at the end of the first steered text writes through the lens at that layer. unsteered: what the prompt
    goes on with by itself; steered: with every strength. cached: whether a step cost one token, or the whole text.
    exactness: ||sum J x + c - h|| / ||h|| of the concept's map at the layer. control: the exported file; others: what
    further prompts go on with; controlled: what the prompt goes on with when it is added with a factor of 1.
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
    along: str = "text"
    top_k: int = 0
    others: tuple[OtherPrompt, ...] = ()


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
    further = prompts_of(model, options)
    for each in (ids, *further):
        require_steerable(model, len(each), options)
    wanted = None if options.export is None else exportable(model, options.export_layers)

    source.lap("the concept's map")
    linear, speller = source.linear, source.speller
    writer = Writer(model, (ids, *further), options, linear.store)
    source.lap("unsteered text")
    alone = [texts[0] for texts in writer.write([0.0], None)]
    unsteered = alone[0]
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
            along=options.along,
        )
        layer = max(tried, key=lambda candidate: (candidate.gain, -candidate.layer)).layer

    source.lap("steered texts")
    maps = ConceptMaps(model.family, linear, (layer,))
    steering: list[Steering] = []

    def pushing(strengths: Sequence[float]) -> Steering:
        steering.append(Steering(maps, [layer] * len(strengths), strengths, options.along))
        return steering[-1]

    by_prompt = writer.write(options.strengths, pushing)
    texts = list(by_prompt[0])
    pushed = steering[0].directions[: len(texts)]
    control: Exported | None = None
    if wanted is not None and options.export is not None:
        source.lap("control vector")
        layers, left_out = wanted
        found, cosines = directions(
            model, maps, unsteered.whole, layers, options.directions, seed=options.seed, n_ctx=writer.n_ctx
        )
        texts += writer.write([1.0], lambda _: ControlVector(model.family, found))[0]
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
        along=options.along,
        n_layer=n_layer,
        layer=layer,
        chosen=options.layer is None,
        candidates=tried,
        counts=tuple(speller.piece(token) for token in counted),
        counts_given=bool(given),
        writes=source.writes(maps.seen(layer, pushed[:1, -1]), WRITES)[0],
        unsteered=told[0],
        steered=tuple(told[1:n]),
        control=control,
        controlled=told[n] if control is not None else None,
        cached=writer.cached,
        exactness=float(maps.misses()[0]),
        others=others_of(model, options, further, writer, alone, by_prompt, counted, speller),
        arrays={
            "concept": torch.tensor(source.ids),
            "prompt": torch.tensor(ids),
            "written": maps.written[0],
            "directions": pushed,
            "tokens.unsteered": unsteered.new,
            **{f"tokens.{i}": text.new for i, text in enumerate(texts[: n - 1])},
            **({} if control is None else {"control": torch.stack(list(found.values()))}),
        },
    )
