"""From one side of a comparison to the other: which concepts moved, what is predicted then, which tokens make it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ggufjac.analyses.common.agreement import kl_divergence
from ggufjac.analyses.common.predictions import Prediction
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.compare.overlap import concepts, kept, matched, overlap, shared
from ggufjac.analyses.compare.sides import Rows, Worked

#: How many tokens of a decoded vector are the concept; a token has moved when it is beyond all those that are kept.
CONCEPT_TOKENS = 5

#: A token by its ids on both sides; None where a vocabulary lacks it.
Asked = tuple["int | None", "int | None"]


@dataclass(frozen=True)
class MatchedTriplet:
    """Triplet number `one` of one side and number `other` of the other, from 1, which belong together.

    sigma_one, sigma_other: of each; writes: the one's tokens. cosine: |u . u'|; right_cosine: |v . v'|; kept: how much
    of u lies in the span of the other side's leading left vectors, so that a concept that only mixed with its
    neighbours is told from one that left; NaN where sizes differ. shared: of the words that either writes first, the
    share that both do. gained: the other's first tokens that are not among any of the one's; lost: the other way round.
    """

    one: int
    other: int
    sigma_one: float
    sigma_other: float
    cosine: float
    right_cosine: float
    kept: float
    shared: float
    writes: tuple[Piece, ...]
    gained: tuple[Piece, ...]
    lost: tuple[Piece, ...]


@dataclass(frozen=True)
class TripletPair:
    """Triplets `one` and `other` of two sides, from 0; cosine: u . u', NaN where sizes differ."""

    one: int
    other: int
    cosine: float

    @property
    def reverses(self) -> bool:
        """Whether the other side's triplet has to change its sign to be like the one's."""
        return self.cosine < 0


@dataclass(frozen=True)
class TermChange:
    """One position. one, other: its tokens; before, after: what it gives to the logit on each side."""

    one: Piece
    other: Piece
    before: float
    after: float


@dataclass(frozen=True)
class LogitChange:
    """A token's logit. before, after: on each side, None where a vocabulary lacks it. tokens: its terms by position,
    where the prompts are aligned; constant_before, constant_after: of constants. They add up to the logit on each side.
    """

    target: Piece
    before: Prediction | None
    after: Prediction | None
    tokens: tuple[TermChange, ...]
    constant_before: float
    constant_after: float


@dataclass(frozen=True)
class Change:
    """From side `one` to side `other`, by their numbers.

    network: the same architecture with tensors of the same shapes, as quantisations of one model have; vocabulary: the
    same tokens; aligned: position t of the one is position t of the other. left, right: overlap of the spans of the
    leading left and right vectors (mean squared cosine of the principal angles); chance_left, chance_right: of random
    ones. written, read: overlap of the decoded words (Jaccard's index). state: the cosine of the final states. kl:
    KL(one || other) of the predictions, in nats. concepts: triplets that belong together; shifts: logits that moved.
    NaN wherever sizes or vocabularies do not allow it.
    """

    one: int
    other: int
    network: bool
    vocabulary: bool
    aligned: bool
    left: float
    chance_left: float
    right: float
    chance_right: float
    written: float
    read: float
    state: float
    kl: float
    concepts: tuple[MatchedTriplet, ...]
    shifts: tuple[LogitChange, ...]


def change(numbers: tuple[int, int], one: Worked, other: Worked, asked: Sequence[Asked], network: bool) -> Change:
    """The change from one side to the other, with these numbers. asked: the tokens whose logits are compared;
    network: whether both are the same network.
    """
    vocabulary = one.bench.same_vocabulary(other.bench)
    aligned = _aligned(one.side.tokens, other.side.tokens)
    left, chance_left = overlaps(one.svd.U, other.svd.U)
    right, chance_right = overlaps(one.svd.V.flatten(1), other.svd.V.flatten(1)) if aligned else (math.nan, math.nan)
    same_width = one.output.shape == other.output.shape
    return Change(
        one=numbers[0],
        other=numbers[1],
        network=network,
        vocabulary=vocabulary,
        aligned=aligned,
        left=left,
        chance_left=chance_left,
        right=right,
        chance_right=chance_right,
        written=word_overlap(one, other, "written"),
        read=word_overlap(one, other, "read"),
        state=_cosine(one.output, other.output) if same_width else math.nan,
        kl=kl_divergence(one.logits, other.logits) if vocabulary else math.nan,
        concepts=_concepts(one, other, aligned, _exactly if vocabulary else _loosely),
        shifts=tuple(_shift(one, other, a, b, aligned) for a, b in asked),
    )


def _aligned(one: Sequence[Piece], other: Sequence[Piece]) -> bool:
    """Whether positions correspond: as many tokens, and at least half of them the same."""
    return len(one) == len(other) and 2 * sum(a.text == b.text for a, b in zip(one, other, strict=True)) >= len(one)


def overlaps(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The overlap of two spans of rows, and that of random ones; NaN where the rows have different lengths."""
    n = a.shape[-1]
    if n != b.shape[-1]:
        return math.nan, math.nan
    return overlap(a, b), max(len(a), len(b)) / n


def pairing(one: Worked, other: Worked) -> list[TripletPair]:
    """The triplets of two sides that belong together: by their left vectors where sizes agree, whatever their order and
    signs, else by the words that they write.
    """
    u, v = one.svd.U.double(), other.svd.U.double()
    if u.shape[-1] == v.shape[-1]:
        cosines = u @ v.T
        return [TripletPair(i, j, float(cosines[i, j])) for i, j in matched(cosines.square())]
    return [TripletPair(i, j, math.nan) for i, j in matched(_word_overlaps(one.written[0], other.written[0]))]


def word_overlap(one: Worked, other: Worked, what: Literal["written", "read"]) -> float:
    """The overlap of the words that the leading triplets of two sides write, or read, signed alike."""
    ours, theirs = getattr(one, what), getattr(other, what)
    signs = {pair.other: pair.reverses for pair in pairing(one, other)}
    rows = [theirs[signs.get(j, False)][j] for j in range(len(theirs[0]))]
    return shared(concepts(ours[0], CONCEPT_TOKENS), concepts(rows, CONCEPT_TOKENS))


def _word_overlaps(a: Rows, b: Rows) -> Tensor:
    """[len(a), len(b)]: the overlap of the words of single vectors."""
    said, heard = ([concepts([row], CONCEPT_TOKENS) for row in rows] for rows in (a, b))
    return torch.tensor([[shared(x, y) for y in heard] for x in said], dtype=torch.float64)


def _cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return float(a @ b / (a.norm() * b.norm()))


def _exactly(piece: Piece) -> str:
    return piece.text


def _loosely(piece: Piece) -> str:
    """A token's text as other vocabularies may have it: they differ in where spaces and capitals go."""
    return piece.text.strip().casefold()


def _concepts(one: Worked, other: Worked, aligned: bool, key: Callable[[Piece], str]) -> tuple[MatchedTriplet, ...]:
    a, b = one.side.triplets, other.side.triplets
    u, u_other = one.svd.U, other.svd.U
    v, v_other = one.svd.V.flatten(1).double(), other.svd.V.flatten(1).double()
    unknown = torch.full((len(a), len(b)), torch.nan)
    inside = kept(u, u_other) if u.shape[-1] == u_other.shape[-1] else unknown[:, 0]
    right = (v @ v_other.T).abs() if aligned and v.shape[-1] == v_other.shape[-1] else unknown
    found = []
    for pair in pairing(one, other):
        before, after = one.written[0][pair.one], other.written[pair.reverses][pair.other]
        found.append(
            MatchedTriplet(
                one=pair.one + 1,
                other=pair.other + 1,
                sigma_one=a[pair.one].sigma,
                sigma_other=b[pair.other].sigma,
                cosine=abs(pair.cosine),
                right_cosine=float(right[pair.one, pair.other]),
                kept=float(inside[pair.one]),
                shared=float(_word_overlaps([before], [after])),
                writes=before[:CONCEPT_TOKENS],
                gained=_new(before, after, key),
                lost=_new(after, before, key),
            )
        )
    return tuple(found)


def _new(before: Sequence[Piece], after: Sequence[Piece], key: Callable[[Piece], str]) -> tuple[Piece, ...]:
    """The first tokens of `after` that are nowhere in `before`."""
    known = {key(piece) for piece in before}
    return tuple(piece for piece in after[:CONCEPT_TOKENS] if key(piece) not in known)


def _shift(one: Worked, other: Worked, a: int | None, b: int | None, aligned: bool) -> LogitChange:
    before, after = None if a is None else one.opinions[a], None if b is None else other.opinions[b]
    known = before or after
    if known is None:
        raise ValueError("a question without a token on either side")
    tokens: tuple[TermChange, ...] = ()
    constants = (math.nan, math.nan)
    if a is not None and b is not None and aligned:
        *was, was_constant = one.terms[a].tolist()
        *now, now_constant = other.terms[b].tolist()
        pairs = zip(one.side.tokens, other.side.tokens, was, now, strict=True)
        tokens = tuple(TermChange(x, y, p, q) for x, y, p, q in pairs)
        constants = was_constant, now_constant
    return LogitChange(
        target=known.token,
        before=before,
        after=after,
        tokens=tokens,
        constant_before=constants[0],
        constant_after=constants[1],
    )
