"""The detached Jacobian beside the ordinary one: what each makes of the input, their spectra, what they attribute.

Both are maps from the same vectors to the same final state. The detached one holds norms, attention and gates fixed and
gives the state back exactly; the ordinary one is the derivative, which answers another question (how the state moves
when the vectors do) and gives back no state, since the network is not homogeneous of degree one in its input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ggufjac.analyses.common.predictions import Prediction, Triplet
from ggufjac.analyses.common.result import PromptResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.compare.overlap import overlap
from ggufjac.analyses.options import OrdinaryOptions
from ggufjac.chat.prompt import PromptLike
from ggufjac.errors import UserError
from ggufjac.maps.linear import SVD, LinearMap
from ggufjac.maps.model import Model
from ggufjac.maps.swept import relative_error


@dataclass(frozen=True)
class JacobianSide:
    """One of the two maps.

    error: ||J x + c - y|| / ||y||; cosine: of J x + c with y; length: ||J x + c|| / ||y||. logit: what its terms of the
    target's logit add up to. stable_rank: of the map of all tokens together, whose leading triplets these are; exact:
    whether the norms in it are, or from random probes. norms: ||J_t||_F of every token; terms: w . J_t x_t; triplets:
    the leading ones.
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


@dataclass(frozen=True, kw_only=True)
class Ordinary(PromptResult):
    """Both Jacobians of one prompt.

    target: the token whose logit is attributed; tokens: the prompt's; constant: what constants give to its logit in the
    detached map. left_overlap, right_overlap: the share of one leading subspace (as many vectors as there are triplets)
    that lies in the other's.
    """

    kind: ClassVar[str] = "ordinary"

    target: Prediction
    tokens: tuple[Piece, ...]
    constant: float
    detached: JacobianSide
    ordinary: JacobianSide
    left_overlap: float
    right_overlap: float


def ordinary(
    model: Model, prompt: PromptLike, options: OrdinaryOptions | None = None, progress: Progress = silent
) -> Ordinary:
    """Both Jacobians at one prompt. Raises UserError for a target that does not exist, for llama.cpp's own run,
    which has no derivatives, and for rules that do not reconstruct."""
    options = options or OrdinaryOptions()
    options.require_derivatives()
    if not options.linearisation.reconstructs:
        raise UserError(
            f"rules: the derivative is set beside a map that gives the output, and {options.rules!r} does not; use "
            "detached, gate or half"
        )
    subject = Subject(model, prompt, options, progress)
    target = subject.target(options.target)
    linear = subject.linear
    functional, offset = linear.logit_functional(target.token.id)
    derivative = subject.linearized(replace(options, rules="ordinary", path=None), linear.held_bytes)

    sides, spectra, made = [], [], []
    maps: tuple[tuple[str, LinearMap], ...] = (("detached Jacobian", linear), ("ordinary Jacobian", derivative))
    for name, mapping in maps:
        subject.lap(name)
        image = mapping.terms().sum(0)
        svd = mapping.svd(options.top, "combined", seed=options.seed)
        triplets = subject.combined_triplets(functional, svd, mapping)
        sides.append(_side(mapping, image, svd, functional, offset, triplets, options.seed))
        spectra.append(svd.cpu())
        made.append(image)
    one, other = spectra
    outputs = {"output": linear.output, "detached.output": made[0], "ordinary.output": made[1]}
    return Ordinary(
        **subject.facts(),
        target=target,
        tokens=subject.pieces,
        constant=float(functional @ linear.constant) + offset,
        detached=sides[0],
        ordinary=sides[1],
        left_overlap=overlap(one.U, other.U),
        right_overlap=overlap(one.V.flatten(1), other.V.flatten(1)),
        arrays=subject.arrays(**outputs) | one.arrays("detached") | other.arrays("ordinary"),
    )


def _side(
    mapping: LinearMap,
    image: Tensor,
    svd: SVD,
    functional: Tensor,
    offset: float,
    triplets: tuple[Triplet, ...],
    seed: int,
) -> JacobianSide:
    y = mapping.output
    terms = mapping.attribute(functional[None])[0]
    squares, exact = mapping.squared_norms(svd, seed=seed)
    return JacobianSide(
        error=float(relative_error(image, y)),
        cosine=float(image @ y / (image.norm() * y.norm())),
        length=float(image.norm() / y.norm()),
        logit=float(terms.sum()) + offset,
        stable_rank=float(squares.sum() / svd.S[0].square()),
        exact=exact,
        norms=tuple(squares.sqrt().tolist()),
        terms=tuple(terms[:-1].tolist()),
        triplets=triplets,
    )
