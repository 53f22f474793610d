"""The terms of tensors, their sums over what tensors have in common, and how well the first order foretells them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

#: The tensors of a layer.
OF_LAYER = re.compile(r"blk\.(\d+)\.")
#: What several groups are called that are put back together.
TOGETHER = "all of these"


@dataclass(frozen=True)
class TensorTerm:
    """One tensor of the other file in the place of the one's.

    layer: the first one that reads it; -1: before all of them, n_layer: behind them. part: its name without layer and
    ending ("attn_v"). type_one, type_other: its types; bytes_one, bytes_other: of it. logit, ln_p, kl: by how much it
    moves the answers' mean logit, their mean ln p, and the mean KL from the one file's prediction, in the order of the
    network. first_logit, first_ln_p: the same to first order; NaN where the tensor acts otherwise than by products.
    """

    name: str
    layer: int
    part: str
    type_one: str
    type_other: str
    bytes_one: int
    bytes_other: int
    logit: float
    ln_p: float
    kl: float
    first_logit: float
    first_ln_p: float


@dataclass(frozen=True)
class TensorGroup:
    """Tensors together, and the sums of their terms. name: what they have in common; tensors: their names; worst:
    the one of them that moves KL most; types: from which type to which."""

    name: str
    tensors: tuple[str, ...]
    worst: str
    types: tuple[str, ...]
    bytes_one: int
    bytes_other: int
    logit: float
    ln_p: float
    kl: float


@dataclass(frozen=True)
class FirstOrderFit:
    """How well the first order foretells the terms of a number ("logit", "ln p").

    correlation: over the tensors, NaN of fewer than two; moved, foretold: the sums; worst: the tensor where it is
    furthest off, and by how much (off).
    """

    number: str
    correlation: float
    moved: float
    foretold: float
    worst: str
    off: float


def part_of(name: str) -> str:
    """A tensor's name without the number of its layer, and without its ending where that is the usual one."""
    return OF_LAYER.sub("", name).removesuffix(".weight")


def layer_name(layer: int, n_layer: int) -> str:
    """What reports call a layer, and what lies before and behind them."""
    return "input" if layer < 0 else "output" if layer >= n_layer else f"layer {layer}"


def groups_of(terms: Sequence[TensorTerm], by: str, n_layer: int) -> tuple[TensorGroup, ...]:
    """Sums of terms by "tensor", "layer", "type" (the part) or "quantisation", in the order of the network."""
    named: dict[str, Callable[[TensorTerm], str]] = {
        "tensor": lambda term: term.name,
        "layer": lambda term: layer_name(term.layer, n_layer),
        "type": lambda term: term.part,
        "quantisation": types_of,
    }
    found: dict[str, list[TensorTerm]] = {}
    for term in terms:
        found.setdefault(named[by](term), []).append(term)
    return tuple(_sum(name, group) for name, group in found.items())


def types_of(term: TensorTerm) -> str:
    """From which type to which."""
    return f"{term.type_one} → {term.type_other}"


def _sum(name: str, terms: Sequence[TensorTerm]) -> TensorGroup:
    return TensorGroup(
        name=name,
        tensors=tuple(term.name for term in terms),
        worst=max(terms, key=lambda term: term.kl).name,
        types=tuple(dict.fromkeys(map(types_of, terms))),
        bytes_one=sum(term.bytes_one for term in terms),
        bytes_other=sum(term.bytes_other for term in terms),
        logit=math.fsum(term.logit for term in terms),
        ln_p=math.fsum(term.ln_p for term in terms),
        kl=math.fsum(term.kl for term in terms),
    )


def together(groups: Sequence[TensorGroup]) -> TensorGroup:
    """Several groups as one."""
    return TensorGroup(
        name=TOGETHER,
        tensors=tuple(name for group in groups for name in group.tensors),
        worst=groups[0].worst,
        types=tuple(dict.fromkeys(types for group in groups for types in group.types)),
        bytes_one=sum(group.bytes_one for group in groups),
        bytes_other=sum(group.bytes_other for group in groups),
        logit=math.fsum(group.logit for group in groups),
        ln_p=math.fsum(group.ln_p for group in groups),
        kl=math.fsum(group.kl for group in groups),
    )


def first_order_fit(terms: Sequence[TensorTerm], number: str) -> FirstOrderFit:
    """Of the tensors that have a first order."""
    pairs = [
        (term.name, *((term.logit, term.first_logit) if number == "logit" else (term.ln_p, term.first_ln_p)))
        for term in terms
    ]
    known = [pair for pair in pairs if not math.isnan(pair[2])]
    if not known:
        return FirstOrderFit(number, math.nan, 0.0, 0.0, "", math.nan)
    moved = torch.tensor([pair[1] for pair in known], dtype=torch.float64)
    foretold = torch.tensor([pair[2] for pair in known], dtype=torch.float64)
    off = (moved - foretold).abs()
    return FirstOrderFit(
        number=number,
        correlation=float(torch.corrcoef(torch.stack([moved, foretold]))[0, 1]) if len(known) > 1 else math.nan,
        moved=float(moved.sum()),
        foretold=float(foretold.sum()),
        worst=known[int(off.argmax())][0],
        off=float(off.max()),
    )
