"""RoPE by sections (M-RoPE, Wang et al., arXiv 2409.12191), where models that also see images have text alone.

Sections give the pairs of a head to four positions: in time, of a row, of a column, and a fourth. As llama.cpp has it,
a token has its number for the first three and 0 for the fourth, so what sections change in a text is that the pairs of
the fourth do not rotate.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from ggufjac.errors import UserError
from ggufjac.families.bases.source import Source
from ggufjac.families.parts import Factors, Rope

KEY = "rope.dimension_sections"


def sectioned(source: Source, rope: Rope, *, take_turns: bool = False) -> Rope:
    """The rotation of a text in a model whose file has sections; take_turns: the first three alternate pair by pair."""
    sections = tuple(source.sections())
    if min(sections) < 0 or not any(sections[:3]):
        raise UserError(f"{source.file.path}: {KEY} is {list(sections)}; one of the first three must be positive")
    factors = _factors(sections, rope.n_rot // 2, take_turns)
    return rope if factors is None else replace(rope, factors=factors)


@lru_cache(maxsize=8)
def _factors(sections: tuple[int, ...], n_pairs: int, take_turns: bool) -> Factors | None:
    """Infinite for pairs that do not rotate, 1 for the others; None where all do. Made once, so that layers share the
    angles."""
    pair = torch.arange(n_pairs) % sum(sections)
    turns = pair // 3 < torch.tensor(sections)[pair % 3] if take_turns else pair < sum(sections[:3])
    factors = torch.where(turns, 1.0, torch.inf)
    return None if turns.all() else Factors(factors, factors, 0)
