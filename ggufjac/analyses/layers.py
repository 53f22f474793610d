"""How a prediction emerges: what every layer's map writes, how many dimensions it has, and which tokens it draws on.

For each layer (and each part of it that is asked for) the cumulative map from the tokens' vectors through the lens: its
leading singular triplets decoded to tokens, its stable rank, how close its leading left vectors are to those of the
whole network, and what each input token carries of its output. And what every block's write gives to one logit on its
way past all later blocks, which adds up to the logit exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.answer.phrase import PhraseLens, phrase_lens, phrase_map
from ggufjac.analyses.common.predictions import TOKENS_PER_VECTOR, Prediction
from ggufjac.analyses.common.result import MapResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.options import LAYER, LayersOptions
from ggufjac.chat.prompt import PromptLike
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.maps.within.hooks import part_called
from ggufjac.maps.within.layers import LayerMaps, LayerPart, Spectra

#: What is written outside of the blocks, in the table of direct contributions.
EMBEDDING, CONSTANT = "embedding", "constant"


@dataclass(frozen=True)
class LayerTriplet:
    """One triplet sigma u v^T: what it writes (head @ u), and where it reads.

    writes: the tokens with the largest logits head @ u. residual: the larger one of ||A v - sigma u|| and ||A^T u -
    sigma v||, over sigma. position, weight: the token (in a layerwise map, the position) with the longest part of v,
    and its share of ||v||^2. cosine: |u . u'| with the vector u' of the same number of the whole network's map.
    """

    sigma: float
    residual: float
    position: int
    weight: float
    cosine: float
    writes: tuple[Piece, ...]


@dataclass(frozen=True)
class Spectrum:
    """The leading triplets of one map.

    stable_rank: ||A||_F^2 / sigma_1^2. overlap: how much of the leading left vectors lies in the span of those of the
    whole network's map, from 0 to 1. concepts: the triplets.
    """

    stable_rank: float
    overlap: float
    concepts: tuple[LayerTriplet, ...]


@dataclass(frozen=True)
class LayerReading:
    """One place: what leaves a layer (part "layer"), or what one of its parts writes.

    layer: from 0; part: "layer", or the block's name. lens: the likeliest tokens if the place itself went to the output
    norm and the head; rank, probability: of the target there. shares: what each token carries of the place's output, y
    . J_t x_t / |y|^2; with constant_share they add up to 1. cumulative: the map from the tokens; layerwise: the map
    from what enters the layer, if asked for.
    """

    layer: int
    part: str
    lens: tuple[Piece, ...]
    rank: int
    probability: float
    shares: tuple[float, ...]
    constant_share: float
    cumulative: Spectrum
    layerwise: Spectrum | None


@dataclass(frozen=True)
class LensReading:
    """The target in what leaves a layer, if that went to the output norm and the head.

    layer: from 0; first: the likeliest token there; rank, logit, probability: of the target.
    """

    layer: int
    first: Piece
    rank: int
    logit: float
    probability: float


@dataclass(frozen=True)
class BlockWrite:
    """One block. layer: None outside of the layers; part: its name; logit: what it gives to the target's logit past all
    later blocks."""

    layer: int | None
    part: str
    logit: float


@dataclass(frozen=True)
class Emergence:
    """From which layer on something is so. first: the first layer where it is; settled: the one from which it stays so;
    None: never."""

    first: int | None
    settled: int | None


@dataclass(frozen=True, kw_only=True)
class Layers(MapResult):
    """One prompt, layer by layer. The logits of `writes` add up to the target's.

    n_layer: how many there are; target: the token that is followed. readings: in the order of the network. lens_layers:
    the target in the lens at every layer, whichever were read; lens: where it is the top token there; concept: where it
    is that of the leading left vector, among the layers that were read. layerwise_exact: whether the stable ranks of
    the layerwise maps come from the full maps; those of the cumulative maps are estimated from random probes beyond
    their leading part. reconstruction: how far the shares of any place are from adding up to 1.
    """

    kind: ClassVar[str] = "layers"

    n_layer: int
    tokens: tuple[Piece, ...]
    target: Prediction
    readings: tuple[LayerReading, ...]
    lens_layers: tuple[LensReading, ...]
    lens: Emergence
    concept: Emergence
    writes: tuple[BlockWrite, ...]
    layerwise_exact: bool
    phrase: str | None = None  # the text of a target of several tokens; the rest is about its first one
    phrase_lens: tuple[PhraseLens, ...] = ()

    @property
    def read_all(self) -> bool:
        """Whether what leaves the layers was read of all of them."""
        return len(self.of_part(LAYER)) == self.n_layer

    @property
    def parts(self) -> tuple[str, ...]:
        """What was read of the layers, what leaves them first."""
        found = dict.fromkeys(reading.part for reading in self.readings)
        return tuple(sorted(found, key=lambda part: part != LAYER))

    def of_part(self, part: str) -> tuple[LayerReading, ...]:
        return tuple(reading for reading in self.readings if reading.part == part)


def layers(
    model: Model, prompt: PromptLike, options: LayersOptions | None = None, progress: Progress = silent
) -> Layers:
    """One prompt, layer by layer. Raises UserError for layers, parts and tokens that do not exist."""
    options = options or LayersOptions()
    subject = Subject(model, prompt, options, progress)
    spelled = () if options.target is None else subject.spelled(options.target)
    in_lens: tuple[PhraseLens, ...] = ()
    if len(spelled) > 1:
        subject.lap("phrase")
        in_lens = phrase_lens(subject, phrase_map(subject, spelled), spelled)
    target = subject.target(spelled[0] if spelled else None)
    linear = subject.linear
    maps = LayerMaps(model.family, linear)
    places = maps.places(_chosen(maps.n_layer, options), [part_called(name) for name in options.what])
    subject.lap("direct contributions")
    writes = _writes(maps, linear, target.token.id)

    subject.lap("cumulative maps")
    # the whole network's map is what the others are compared with
    whole = (maps.n_layer - 1, LAYER)
    swept = places if whole in places else (*places, whole)
    spectra, shares = maps.spectra(swept, options.top, tolerance=options.tolerance, seed=options.seed)
    reference = spectra.u[swept.index(whole)]
    own: Spectra | None = None
    if options.layerwise:
        subject.lap("layerwise maps")
        own = maps.layerwise_spectra(places, options.top, tolerance=options.tolerance, seed=options.seed)

    subject.lap("decoding")
    cumulative = _spectra(subject, spectra, reference)[: len(places)]
    layerwise = [None] * len(places) if own is None else _spectra(subject, own, reference)
    lens = _lens(subject, maps, spectra.outputs[: len(places)], target.token.id)
    lens_layers = _lens_layers(subject, maps, target.token.id)
    readings = tuple(
        LayerReading(layer, part, *seen, tuple(tokens), constant, of_all, of_layer)
        for (layer, part), seen, (*tokens, constant), of_all, of_layer in zip(
            places, lens, shares[: len(places)].tolist(), cumulative, layerwise, strict=True
        )
    )
    return Layers(
        **subject.map_facts(float((shares.sum(-1) - 1).abs().max())),
        n_layer=maps.n_layer,
        tokens=subject.pieces,
        target=target,
        readings=readings,
        lens_layers=lens_layers,
        phrase=subject.text_of(spelled) if in_lens else None,
        phrase_lens=in_lens,
        lens=_emergence([(reading.layer, reading.rank == 1) for reading in lens_layers]),
        concept=_emergence(
            [
                (reading.layer, reading.cumulative.concepts[0].writes[0].id == target.token.id)
                for reading in readings
                if reading.part == LAYER
            ]
        ),
        writes=writes,
        layerwise_exact=own is not None and own.exact,
        arrays=_arrays(subject, places, shares, spectra, own, writes),
    )


def _chosen(n_layer: int, options: LayersOptions) -> Sequence[int]:
    if options.layers is not None:
        return options.layers
    return range((n_layer - 1) % options.every, n_layer, options.every)


def _writes(maps: LayerMaps, linear: DetachedMap, target: int) -> tuple[BlockWrite, ...]:
    functional, offset = linear.logit_functional(target)
    found = maps.direct(functional[None])
    blocks = (BlockWrite(layer, part, float(logit)) for (layer, part), logit in found.writes.items())
    constant = float(found.constant) + offset
    writes = (BlockWrite(None, EMBEDDING, float(found.embedding)), *blocks)
    return (*writes, BlockWrite(None, CONSTANT, constant)) if constant else writes


def _lens(
    subject: Subject, maps: LayerMaps, outputs: Tensor, target: int
) -> list[tuple[tuple[Piece, ...], int, float]]:
    """The likeliest tokens at every output, and the target's rank and probability there."""
    found = []
    for logits in maps.lens_logits(outputs):
        logits = logits.cpu()
        best = logits.topk(min(TOKENS_PER_VECTOR, len(logits))).indices
        rank = int((logits > logits[target]).sum()) + 1
        probability = float(logits.double().softmax(-1)[target])
        found.append((tuple(map(subject.speller.piece, best.tolist())), rank, probability))
    return found


def _lens_layers(subject: Subject, maps: LayerMaps, target: int) -> tuple[LensReading, ...]:
    """The target in what leaves every layer: a norm and a head, and no sweep."""
    found = []
    for layer, there in enumerate(maps.lens_logits(maps.leaving())):
        logits = there.cpu()  # not every device has float64
        logit, probability = float(logits[target]), float(logits.double().softmax(-1)[target])
        first, rank = subject.speller.piece(int(logits.argmax())), int((logits > logit).sum()) + 1
        found.append(LensReading(layer, first, rank, logit, probability))
    return tuple(found)


def _spectra(subject: Subject, found: Spectra, reference: Tensor) -> list[Spectrum]:
    n, k, d = found.u.shape
    writes = subject.writes(found.u.reshape(-1, d), TOKENS_PER_VECTOR)
    cosines = (found.u @ reference.mT).cpu().double()
    weights, positions = found.weights.cpu().max(-1)
    shares = weights / found.weights.cpu().sum(-1).clamp_min(torch.finfo(weights.dtype).tiny)
    stable_ranks, s, residuals = (x.cpu() for x in (found.stable_ranks, found.s, found.residuals))
    return [
        Spectrum(
            stable_rank=float(stable_ranks[i]),
            overlap=float(cosines[i].square().sum() / k),
            concepts=tuple(
                LayerTriplet(
                    sigma=float(s[i, j]),
                    residual=float(residuals[i, j]),
                    position=int(positions[i, j]),
                    weight=float(shares[i, j]),
                    cosine=abs(float(cosines[i, j, j])),
                    writes=writes[i * k + j],
                )
                for j in range(k)
            ),
        )
        for i in range(n)
    ]


def _emergence(layers: Sequence[tuple[int, bool]]) -> Emergence:
    """Since when something is so, from whether it is at each of some layers in their order."""
    first = next((layer for layer, so in layers if so), None)
    settled = None
    for layer, so in reversed(layers):
        if not so:
            break
        settled = layer
    return Emergence(first, settled)


def _arrays(
    subject: Subject,
    places: Sequence[LayerPart],
    shares: Tensor,
    spectra: Spectra,
    own: Spectra | None,
    writes: Sequence[BlockWrite],
) -> dict[str, Tensor]:
    n = len(places)  # the whole network's map may have been read besides, to compare with
    arrays = subject.arrays(
        layers=torch.tensor([layer for layer, _ in places]),
        outputs=spectra.outputs[:n],
        shares=shares[:n],
        writes=torch.tensor([write.logit for write in writes]),
    )
    for name, found in (("cumulative", spectra), ("layerwise", own)):
        if found is not None:
            arrays |= {
                f"{name}.U": found.u[:n],
                f"{name}.S": found.s[:n],
                f"{name}.residuals": found.residuals[:n],
                f"{name}.weights": found.weights[:n],
                f"{name}.stable_ranks": found.stable_ranks[:n],
            }
    return arrays
