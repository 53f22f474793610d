"""Which type each tensor of a file gets: llama.cpp's rules for its file types (llama-quant.cpp), no importance matrix.

tests/test_synth.py holds them against what llama.cpp's own quantiser chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.synthetic.layouts import Matrix
from benchmarks.synthetic.shapes import Shape
from ggufjac.errors import UserError
from ggufjac.reader.types import GGMLType as T

#: The type of the i-th of n tensors of a kind; None: the file's usual one.
Rule = Callable[[int, int], "T | None"]


def _more_bits(i: int, n: int) -> bool:
    """The first and the last eighth of the layers, and every third between."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def _usual(i: int, n: int) -> T | None:
    return None


def _some(type_: T) -> Rule:
    return lambda i, n: type_ if _more_bits(i, n) else None


def _first(type_: T, part: int, otherwise: T | None = None) -> Rule:
    return lambda i, n: type_ if i < n // part else otherwise


@dataclass(frozen=True)
class Mixture:
    """usual: the type of what has no rule. values (and fused q, k, v), down, out: the rules of those projections.

    shared_values: the type of values where at least four heads share them.
    """

    usual: T
    values: Rule = _usual
    down: Rule = _usual
    out: Rule = _usual
    shared_values: T | None = None


MIXTURES: dict[str, Mixture] = {
    "F32": Mixture(T.F32),
    "F16": Mixture(T.F16),
    "BF16": Mixture(T.BF16),
    "Q8_0": Mixture(T.Q8_0),
    "Q6_K": Mixture(T.Q6_K),
    "Q5_K_M": Mixture(T.Q5_K, values=_some(T.Q6_K), down=_some(T.Q6_K)),
    "Q5_K_S": Mixture(T.Q5_K),
    "Q5_1": Mixture(T.Q5_1),
    "Q5_0": Mixture(T.Q5_0),
    "Q4_K_M": Mixture(T.Q4_K, values=_some(T.Q6_K), down=_some(T.Q6_K)),
    "Q4_K_S": Mixture(T.Q4_K, values=lambda i, n: T.Q5_K if i < 4 else None, down=_first(T.Q5_K, 8)),
    "Q4_1": Mixture(T.Q4_1),
    "Q4_0": Mixture(T.Q4_0),
    "IQ4_NL": Mixture(T.IQ4_NL, down=_first(T.Q5_K, 8), shared_values=T.Q5_K),
    "IQ4_XS": Mixture(T.IQ4_XS, down=_first(T.Q5_K, 8), shared_values=T.Q5_K),
    "Q3_K_L": Mixture(T.Q3_K, lambda i, n: T.Q5_K, lambda i, n: T.Q5_K, lambda i, n: T.Q5_K),
    "Q3_K_M": Mixture(
        T.Q3_K, lambda i, n: T.Q5_K if i < 2 else T.Q4_K, _first(T.Q5_K, 16, T.Q4_K), lambda i, n: T.Q4_K
    ),
    "Q3_K_S": Mixture(T.Q3_K),
    "Q2_K": Mixture(T.Q2_K, lambda i, n: T.Q3_K, lambda i, n: T.Q3_K, lambda i, n: T.Q3_K, T.Q4_K),
}

#: What takes the place of a type of 256 weights a block where rows are no multiple of that.
FALLBACKS = {
    T.Q2_K: T.Q4_0,
    T.Q3_K: T.Q4_0,
    T.Q4_K: T.Q5_0,
    T.Q5_K: T.Q5_1,
    T.Q6_K: T.Q8_0,
    T.IQ4_XS: T.IQ4_NL,
}

_PLAIN = (T.F32, T.F16, T.BF16)


def types(file_type: str, shape: Shape, tensors: list[Matrix]) -> dict[str, T]:
    """The type of every matrix by name. Raises UserError for a file type that is not known here."""
    if file_type not in MIXTURES:
        raise UserError(f"no file type {file_type!r}; choose one of {', '.join(MIXTURES)}")
    mixture = MIXTURES[file_type]
    return {t.name: _fitting(_type(mixture, file_type, shape, t.name), t) for t in tensors}


def _type(mixture: Mixture, file_type: str, s: Shape, name: str) -> T:
    if mixture.usual in _PLAIN:
        return mixture.usual
    if name == "output.weight" or (s.tied and name == "token_embd.weight"):
        if s.n_embd % mixture.usual.block:
            return T.Q8_0
        return mixture.usual if mixture.usual == T.Q8_0 else T.Q6_K
    parts = name.split(".")
    if parts[0] != "blk":
        return mixture.usual
    i, kind = int(parts[1]), parts[2]
    eight = s.n_expert == 8
    if kind in ("attn_v", "attn_qkv"):
        return _value_type(mixture, s, i)
    if kind == "attn_k" and eight:
        return T.Q8_0
    if kind == "attn_output":
        wide = file_type in ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS")
        chosen = (T.Q5_K if wide else None) if eight else mixture.out(i, s.n_layer)
        return chosen or mixture.usual
    if kind.startswith("ffn_down"):
        return mixture.down(i, s.n_layer) or mixture.usual
    return mixture.usual


def _value_type(mixture: Mixture, s: Shape, i: int) -> T:
    if s.n_expert == 8:
        return T.Q8_0
    shared = mixture.shared_values if s.n_head // s.n_head_kv >= 4 else None
    chosen = shared or mixture.values(i, s.n_layer) or mixture.usual
    is_70b = s.n_layer == 80 and s.arch in ("llama", "qwen2") and s.n_head != s.n_head_kv
    return T.Q5_K if is_70b and chosen in (T.Q3_K, T.Q4_K) else chosen


def _fitting(type_: T, tensor: Matrix) -> T:
    if tensor.plain:
        return T.F32
    n_in = tensor.shape[-1]
    if n_in % type_.block:
        type_ = FALLBACKS.get(type_, type_)
    return T.F16 if n_in % type_.block else type_
