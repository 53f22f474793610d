"""What patched runs restore and estimates foretell of it, and the heads of attention among what is patched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.network.patches import with_heads

#: A correlation says something of so many cells at least.
FEWEST = 3


@dataclass(frozen=True)
class PatchEstimate:
    """What one backward sweep says of a part. rules: of the sweep; restored: as of the real runs, a row for each layer;
    correlation: Pearson's, with the real runs over all cells (None: one of them says the same everywhere)."""

    rules: str
    restored: tuple[tuple[float, ...], ...]
    correlation: float | None


@dataclass(frozen=True)
class PatchedHeads:
    """What single heads of attention restore, at all patched positions together.

    layers: those that have heads of one block of attention, and nothing beside it that mixes positions; without: the
    others that were asked for. restored: in real runs, by layer and head, the fraction of the difference between the
    two prompts. estimates: by rules.
    """

    layers: tuple[int, ...]
    without: tuple[int, ...]
    restored: tuple[tuple[float, ...], ...]
    estimates: tuple[PatchEstimate, ...]


def layers_with_heads(model: Model, layers: Sequence[int]) -> tuple[int, ...]:
    """Those of the layers whose heads can be patched. Raises UserError where none has any."""
    there = with_heads(model.family)
    if not there:
        raise UserError(
            f"{model.file.architecture} has no heads that can be patched: no layer mixes positions by one block of "
            "attention alone; leave out --heads"
        )
    found = tuple(layer for layer in layers if layer in there)
    if not found:
        listed = ", ".join(map(str, there))
        raise UserError(f"of the layers that are asked for none has heads that can be patched; {listed} have")
    return found


def heads_of(
    real: Mapping[int, Tensor], estimates: Mapping[str, Mapping[int, Tensor]], without: tuple[int, ...]
) -> PatchedHeads:
    """From the fractions by layer, [n_head] each, in real runs and by rules."""
    every = torch.cat(list(real.values()))
    return PatchedHeads(
        tuple(real),
        without,
        _plain(real),
        tuple(
            PatchEstimate(rules, _plain(by_layer), correlation(torch.cat(list(by_layer.values())), every))
            for rules, by_layer in estimates.items()
        ),
    )


def padded(by_layer: Mapping[int, Tensor]) -> Tensor:
    """[layers, heads], nan where a layer has fewer of them than others."""
    return torch.nn.utils.rnn.pad_sequence(list(by_layer.values()), batch_first=True, padding_value=torch.nan)


def correlation(x: Tensor, y: Tensor) -> float | None:
    """Pearson's, of two lists of numbers [n]; None where it says nothing: fewer than three, or all alike."""
    if len(x) < FEWEST:
        return None
    a, b = (z.double() - z.double().mean() for z in (x, y))
    sizes = float(a.norm() * b.norm())
    return float(a @ b) / sizes if sizes > 0 else None


def _plain(by_layer: Mapping[int, Tensor]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(line.tolist()) for line in by_layer.values())
