"""The detached Jacobian beside the ordinary one: what each makes of the input, their spectra, what they attribute.

Both are maps from the same vectors to the same final state. The detached one holds norms, attention and gates fixed and
gives the state back exactly; the ordinary one is the derivative, which answers another question (how the state moves
when the vectors do) and gives back no state, since the network is not homogeneous of degree one in its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.decode import Decoder
from ggufjac.analyses.facts import ModelFacts, facts_of
from ggufjac.analyses.options import MapOptions
from ggufjac.analyses.overlap import overlap
from ggufjac.analyses.prediction import (
    Prediction,
    Triplet,
    combined_triplets,
    prediction_of,
    top_predictions,
)
from ggufjac.analyses.result import Result
from ggufjac.analyses.stopwatch import Progress, Stopwatch
from ggufjac.analyses.text import Piece, Speller
from ggufjac.errors import UserError
from ggufjac.maps.linear import SVD, LinearMap
from ggufjac.maps.model import Model


@dataclass(frozen=True)
class Side:
    """One of the two maps.

    error: ||J x + c - y|| / ||y||; cosine: of J x + c with y; length: ||J x + c|| / ||y||. logit: what its terms of the
    target's logit add up to. stable_rank: of the map of all tokens together, whose leading triplets these are; exact:
    whether the norms in it are, or from random probes. norms: ||J_t||_F of every token; terms: w . J_t x_t.
    """

    error: float
    cosine: float
    length: float
    logit: float
    stable_rank: float
    exact: bool
    norms: tuple[float, ...]
    terms: tuple[float, ...]
    triplets: tuple[Triplet, ...]


@dataclass(frozen=True)
class Ordinary(Result):
    """Both Jacobians of one prompt. left_overlap, right_overlap: the share of one leading subspace (as many vectors as
    there are triplets) that lies in the other's.
    """

    kind: ClassVar[str] = "ordinary"
    report: ClassVar[str] = "ordinary"

    model: ModelFacts
    prompt: str
    dtype: str
    path: str
    seed: int
    predictions: tuple[Prediction, ...]
    target: Prediction
    tokens: tuple[Piece, ...]
    constant: float
    detached: Side
    ordinary: Side
    left_overlap: float
    right_overlap: float
    seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Options(MapOptions):
    """top: how many triplets of each; target: the id of the token whose logit is attributed (None: the prediction)."""

    top: int = 8
    target: int | None = None


def ordinary(
    model: Model, prompt: str | Sequence[int], options: Options | None = None, progress: Progress = lambda _: None
) -> Ordinary:
    """Both Jacobians at one prompt. Raises UserError for a target that does not exist, and for llama.cpp's own run,
    which has no derivatives."""
    options = options or Options()
    options.require_derivatives()
    watch = Stopwatch(progress)
    watch.lap("forward pass")
    ids = model.ids_of(prompt)
    if options.target is not None and not 0 <= options.target < model.family.n_vocab:
        raise UserError(f"there is no token {options.target}; the vocabulary has {model.family.n_vocab} tokens, from 0")
    speller = Speller(model.vocab)
    linear = options.linearize(model, ids)
    target = prediction_of(linear, speller, options.target)
    functional, offset = linear.logit_functional(target.token.id)
    decoder = Decoder(model.family, options.dtype)
    derivative = model.ordinary(ids, options.dtype, options.memory)

    sides, spectra, made = [], [], []
    maps: tuple[tuple[str, LinearMap], ...] = (("detached Jacobian", linear), ("ordinary Jacobian", derivative))
    for name, mapping in maps:
        watch.lap(name)
        image = mapping.terms().sum(0)
        svd = mapping.svd(options.top, "combined", seed=options.seed)
        triplets = combined_triplets(mapping, functional, svd, decoder, speller)
        sides.append(_side(mapping, image, svd, functional, offset, triplets, options.seed))
        spectra.append(svd)
        made.append(image)
    one, other = spectra
    return Ordinary(
        model=facts_of(model.file),
        prompt=prompt if isinstance(prompt, str) else model.detokenize(ids),
        dtype=options.dtype_name,
        path=options.path,
        seed=options.seed,
        predictions=top_predictions(linear, speller),
        target=target,
        tokens=tuple(speller.piece(token) for token in ids),
        constant=float(functional @ linear.constant) + offset,
        detached=sides[0],
        ordinary=sides[1],
        left_overlap=overlap(one.U, other.U),
        right_overlap=overlap(one.V.flatten(1), other.V.flatten(1)),
        seconds=watch.stop(),
        arrays={
            "tokens": torch.tensor(ids),
            "output": linear.output,
            "detached.output": made[0],
            "ordinary.output": made[1],
            "detached.U": one.U,
            "detached.S": one.S,
            "detached.V": one.V,
            "ordinary.U": other.U,
            "ordinary.S": other.S,
            "ordinary.V": other.V,
        },
    )


def _side(
    mapping: LinearMap,
    image: Tensor,
    svd: SVD,
    functional: Tensor,
    offset: float,
    triplets: tuple[Triplet, ...],
    seed: int,
) -> Side:
    y = mapping.output
    terms = mapping.attribute(functional[None])[0]
    squares, exact = mapping.squared_norms(svd, seed=seed)
    return Side(
        error=float((image - y).norm() / y.norm()),
        cosine=float(image @ y / (image.norm() * y.norm())),
        length=float(image.norm() / y.norm()),
        logit=float(terms.sum()) + offset,
        stable_rank=float(squares.sum() / svd.S[0].square()),
        exact=exact,
        norms=tuple(squares.sqrt().tolist()),
        terms=tuple(terms[:-1].tolist()),
        triplets=triplets,
    )
