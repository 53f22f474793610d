"""The network's constants in words: what they are called, and the largest of them with the others folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ggufjac.analyses.common.constants import ConstantTerms
from ggufjac.readable import visible

#: Constants have a table of their own where they are more than this of what is explained.
FEW = 0.03
#: Rows of that table at most; how many of them may be of one layer; below this share of the largest one none has a row.
ROWS, SINGLE, SMALL = 8, 5, 0.1
#: From this share of all constants on it is said where they come from, without "mostly".
NEARLY_ALL = 0.9

PARTS = {
    "attn_q": "biases of q",
    "attn_k": "biases of k",
    "attn_v": "biases of v",
    "attn_qkv": "biases of q, k, v",
    "attn_output": "biases of attention's output",
    "attn_norm": "biases of attention's norm",
    "attn_norm_2": "biases of the second norm",
    "ffn_norm": "biases of the MLP's norm",
    "ffn_gate": "biases of gate",
    "ffn_up": "biases of up",
    "ffn_down": "biases of down",
    "ffn_gate_up": "biases of gate and up",
    "output_norm": "biases of the output norm",
    "output": "biases of the head",
    "token_embd_norm": "biases of the embeddings' norm",
    "ssm_conv1d": "biases of the convolution",
    "time_mix_ln": "biases of the heads' norm",
    "position_embd.weight": "learned positions",
    "per_layer_token_embd.weight": "each layer's own embeddings",
}
EXPERTS = "_exps"


@dataclass(frozen=True)
class ConstantRow:
    """Constants that share a row. term: of the first question; positions: the same by where they enter."""

    label: str
    term: float
    positions: tuple[float, ...]


def named(kind: str) -> str:
    """A constant, without its layer, in words."""
    part = kind.removesuffix(".bias")
    plain = part.removesuffix(EXPERTS)
    words = PARTS.get(plain) or visible(f"biases of {plain}" if kind.endswith(".bias") else kind)
    return words if plain == part else f"{words} in experts"


def layers(numbers: Iterable[int]) -> str:
    """Layers in words: "layer 3", "layers 0–2, 5 and 7"."""
    found = sorted(set(numbers))
    runs: list[list[int]] = []
    for number in found:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    last = shown.pop()
    return f"layer{'s' if len(found) > 1 else ''} {', '.join(shown)}{' and ' if shown else ''}{last}"


def mostly(sources: Sequence[ConstantTerms]) -> str:
    """Where constants mostly come from, as a row is called."""
    totals = {kind: abs(sum(s.terms[0] for s in same)) for kind, same in _by_kind(sources).items()}
    if not any(totals.values()):
        return "constants"
    largest = max(totals, key=totals.__getitem__)
    all_of_it = totals[largest] >= NEARLY_ALL * sum(totals.values())
    return named(largest) if all_of_it else f"mostly {named(largest)}"


def matter(sources: Sequence[ConstantTerms], value: float) -> bool:
    """Whether constants, together or of one kind, are more than a few percent of what is explained."""
    kinds = [sum(s.terms[0] for s in same) for same in _by_kind(sources).values()]
    return max(map(abs, [sum(kinds), *kinds])) > FEW * abs(value)


def groups(sources: Sequence[ConstantTerms]) -> tuple[ConstantRow, ...]:
    """All of them: the largest constants of single layers, then the others by kind, then what is left."""
    single = sorted(_by_name(sources).values(), key=_size, reverse=True)
    least = SMALL * _size(single[0]) if single else 0.0
    first = [same for same in single[:SINGLE] if _size(same) >= least]
    others = list(_by_kind([s for same in single[len(first) :] for s in same]).values())
    others.sort(key=_size, reverse=True)
    room = ROWS - len(first)
    folded = [s for same in others[room - 1 :] for s in same] if len(others) > room else []
    kept = others[: len(others) if not folded else room - 1]
    rows = [_group(_label(same), same) for same in (*first, *kept)]
    return (*rows, _group("all others", folded)) if folded else tuple(rows)


def _label(same: Sequence[ConstantTerms]) -> str:
    """Constants of one kind with their layers."""
    numbers = [s.layer for s in same if s.layer is not None]
    # what a table of the whole file adds says no layer, though the first one adds it
    name = named(same[0].kind)
    return f"{name}, {layers(numbers)}" if (numbers and same[0].kind != same[0].name) or len(set(numbers)) > 1 else name


def _group(label: str, same: Sequence[ConstantTerms]) -> ConstantRow:
    positions = tuple(map(sum, zip(*(s.positions for s in same), strict=True)))
    return ConstantRow(label, sum(s.terms[0] for s in same), positions)


def _size(same: Sequence[ConstantTerms]) -> float:
    return abs(sum(s.terms[0] for s in same))


def _by_kind(sources: Iterable[ConstantTerms]) -> dict[str, list[ConstantTerms]]:
    found: dict[str, list[ConstantTerms]] = {}
    for source in sources:
        found.setdefault(source.kind, []).append(source)
    return found


def _by_name(sources: Iterable[ConstantTerms]) -> dict[tuple[int | None, str], list[ConstantTerms]]:
    """A norm's biases that several branches read are one constant."""
    found: dict[tuple[int | None, str], list[ConstantTerms]] = {}
    for source in sources:
        found.setdefault((source.layer, source.kind), []).append(source)
    return found
