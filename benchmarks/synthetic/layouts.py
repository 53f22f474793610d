"""Which keys and tensors a model of each architecture has, and how large its weights are.

Sizes of weights keep the values of a pass finite and of order 1 however many layers there are: a matrix of gain 1 keeps
the size of its input, and each of the 2 L writes to the residual stream has the size WRITE / sqrt(2 L). Names and
required keys are those of llama.cpp's src/models/<arch>.cpp.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.synthetic.shapes import Shape
from ggufjac.errors import UserError

#: The size of all writes together, in units of the embeddings.
WRITE = 1.5
#: The gain of queries and keys: scores that spread by more than 1.
QK = 1.2
#: silu(a) b has about 0.6 times the size of normally distributed a and b.
AFTER_GATE = 1.7
#: The size of the logits.
LOGITS = 3.0
#: The output norm's weights fall as rank^-DECAY.
DECAY = 0.3

Value = bool | int | float | str


@dataclass(frozen=True)
class Matrix:
    """Random weights of a standard deviation of gain / sqrt(n_in); shape: outermost axis first, n_in last.

    plain: float32 whatever the type of the file (a router).
    """

    name: str
    shape: tuple[int, ...]
    gain: float
    plain: bool = False

    @property
    def deviation(self) -> float:
        return self.gain / math.sqrt(self.shape[-1])


@dataclass(frozen=True)
class Vector:
    """A tensor given by its values [n], float32."""

    name: str
    values: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape


class Layout:
    """The keys and tensors of one model, in the order in which the file has them."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.keys: dict[str, Value] = {}
        self.tensors: list[Matrix | Vector] = []
        self.write = WRITE / math.sqrt(2 * shape.n_layer)

    def matrix(self, name: str, n_out: int, n_in: int, gain: float = 1.0) -> None:
        self.tensors.append(Matrix(f"{name}.weight", (n_out, n_in), gain))

    def vector(self, name: str, values: NDArray[np.floating]) -> None:
        self.tensors.append(Vector(name, values.astype(np.float32)))

    def norm(self, name: str, n: int, size: float = 1.0) -> None:
        """A norm's weight, within half and three halves of `size`."""
        self.vector(f"{name}.weight", size * self.random(name).uniform(0.5, 1.5, n))

    def bias(self, name: str, n: int) -> None:
        self.vector(f"{name}.bias", 0.3 * self.random(name).standard_normal(n))

    def random(self, name: str) -> np.random.Generator:
        """Numbers that depend on the name alone."""
        return np.random.default_rng(zlib.crc32(name.encode()))


def layout(shape: Shape) -> Layout:
    """Everything that the file of such a model holds. Raises UserError for an architecture that is not known here."""
    if shape.arch not in LAYERS:
        raise UserError(f"no synthetic model of the architecture {shape.arch!r}; there are {', '.join(LAYERS)}")
    made = Layout(shape)
    _keys(made)
    _ends(made)
    for i in range(shape.n_layer):
        LAYERS[shape.arch](made, f"blk.{i}")
    return made


def _keys(t: Layout) -> None:
    s = t.shape
    t.keys |= {
        "block_count": s.n_layer,
        "context_length": s.n_ctx,
        "embedding_length": s.n_embd,
        "feed_forward_length": s.n_ff * max(1, s.n_expert_used if s.arch == "qwen3moe" else 1),
        "attention.head_count": s.n_head,
        "attention.head_count_kv": s.n_head_kv,
        "attention.key_length": s.head_dim,
        "attention.value_length": s.head_dim,
        "attention.layer_norm_rms_epsilon": s.eps,
        "rope.dimension_count": s.head_dim,
        "rope.freq_base": s.rope_base,
    }
    if s.n_expert:
        t.keys |= {"expert_count": s.n_expert, "expert_used_count": s.n_expert_used}
    if s.arch == "qwen3moe":
        t.keys["expert_feed_forward_length"] = s.n_ff
    if s.window:
        t.keys["attention.sliding_window"] = s.window
    if s.arch == "phi3":
        t.keys["rope.scaling.original_context_length"] = s.n_ctx
    if s.stretch != 1 and s.arch == "llama":
        t.vector("rope_freqs.weight", _llama3_factors(s))
    elif s.stretch != 1:
        t.keys |= {"rope.scaling.type": "linear", "rope.scaling.factor": s.stretch}


def _llama3_factors(s: Shape) -> NDArray[np.float64]:
    """What Llama 3.1 divides its frequencies by: 1 for short waves, `stretch` for long ones, a ramp between.

    Waves are short below 1/4 of the original context of 8192 positions and long beyond it, as in llama.cpp's converter.
    """
    waves = 2 * np.pi * s.rope_base ** (np.arange(0, s.head_dim, 2) / s.head_dim)
    ramp = np.clip((8192 / waves - 1) / 3, 0, 1)
    return 1 / (ramp + (1 - ramp) / s.stretch)


def _ends(t: Layout) -> None:
    """Embeddings of size 1 (after Gemma's factor sqrt(n_embd)), the output norm, and the head where it is not tied.

    The weights of the output norm fall like a power of their rank. The spectrum of the map falls with them, as real
    models' do; without that it would be flat, and no iteration finds the leading part of a flat spectrum.
    """
    s = t.shape
    size = 1 / math.sqrt(s.n_embd) if s.arch.startswith("gemma") else 1.0
    t.matrix("token_embd", s.n_vocab, s.n_embd, size * math.sqrt(s.n_embd))
    head = size * math.sqrt(s.n_embd) if s.tied else 1.0
    weights = np.arange(1, s.n_embd + 1) ** -DECAY
    weights *= LOGITS / head / math.sqrt(np.mean(weights**2))
    t.vector("output_norm.weight", t.random("output_norm").permutation(weights))
    if not s.tied:
        t.matrix("output", s.n_vocab, s.n_embd, head)


def _attention(t: Layout, b: str, *, write: float, bias: bool = False, fused: bool = False) -> None:
    s = t.shape
    if fused:
        t.matrix(f"{b}.attn_qkv", s.n_q + 2 * s.n_kv, s.n_embd)
    else:
        for name, n, gain in (("attn_q", s.n_q, QK), ("attn_k", s.n_kv, QK), ("attn_v", s.n_kv, 1.0)):
            t.matrix(f"{b}.{name}", n, s.n_embd, gain)
            if bias:
                t.bias(f"{b}.{name}", n)
    t.matrix(f"{b}.attn_output", s.n_embd, s.n_q, write)


def _mlp(t: Layout, b: str, *, write: float) -> None:
    s = t.shape
    down = AFTER_GATE * write
    if s.n_expert:
        n, router = s.n_expert, f"{b}.ffn_gate_inp.weight"
        t.tensors.append(Matrix(router, (n, s.n_embd), 2.0, plain=True))
        t.tensors.append(Matrix(f"{b}.ffn_gate_exps.weight", (n, s.n_ff, s.n_embd), 1.0))
        t.tensors.append(Matrix(f"{b}.ffn_up_exps.weight", (n, s.n_ff, s.n_embd), 1.0))
        t.tensors.append(Matrix(f"{b}.ffn_down_exps.weight", (n, s.n_embd, s.n_ff), down))
        return
    t.matrix(f"{b}.ffn_gate", s.n_ff, s.n_embd)
    t.matrix(f"{b}.ffn_up", s.n_ff, s.n_embd)
    t.matrix(f"{b}.ffn_down", s.n_embd, s.n_ff, down)


def _llama(t: Layout, b: str) -> None:
    t.norm(f"{b}.attn_norm", t.shape.n_embd)
    _attention(t, b, write=t.write)
    t.norm(f"{b}.ffn_norm", t.shape.n_embd)
    _mlp(t, b, write=t.write)


def _qwen2(t: Layout, b: str) -> None:
    t.norm(f"{b}.attn_norm", t.shape.n_embd)
    _attention(t, b, write=t.write, bias=True)
    t.norm(f"{b}.ffn_norm", t.shape.n_embd)
    _mlp(t, b, write=t.write)


def _qwen3(t: Layout, b: str) -> None:
    _llama(t, b)
    t.norm(f"{b}.attn_q_norm", t.shape.head_dim, QK)
    t.norm(f"{b}.attn_k_norm", t.shape.head_dim, QK)


def _gemma3(t: Layout, b: str) -> None:
    """Norms after each part give the writes their size."""
    s = t.shape
    t.norm(f"{b}.attn_norm", s.n_embd)
    _attention(t, b, write=1.0)
    t.norm(f"{b}.attn_q_norm", s.head_dim, QK)
    t.norm(f"{b}.attn_k_norm", s.head_dim, QK)
    t.norm(f"{b}.post_attention_norm", s.n_embd, t.write)
    t.norm(f"{b}.ffn_norm", s.n_embd)
    _mlp(t, b, write=1.0)
    t.norm(f"{b}.post_ffw_norm", s.n_embd, t.write)


def _phi3(t: Layout, b: str) -> None:
    """q, k and v in one matrix, gate and up in another."""
    s = t.shape
    t.norm(f"{b}.attn_norm", s.n_embd)
    _attention(t, b, write=t.write, fused=True)
    t.norm(f"{b}.ffn_norm", s.n_embd)
    t.matrix(f"{b}.ffn_up", 2 * s.n_ff, s.n_embd)
    t.matrix(f"{b}.ffn_down", s.n_embd, s.n_ff, AFTER_GATE * t.write)


def _olmo2(t: Layout, b: str) -> None:
    """Norms only after the parts; q and k are normalised over all heads at once."""
    s = t.shape
    _attention(t, b, write=1.0)
    t.norm(f"{b}.attn_q_norm", s.n_q, QK)
    t.norm(f"{b}.attn_k_norm", s.n_kv, QK)
    t.norm(f"{b}.post_attention_norm", s.n_embd, t.write)
    _mlp(t, b, write=1.0)
    t.norm(f"{b}.post_ffw_norm", s.n_embd, t.write)


#: What one layer holds, by architecture.
LAYERS: dict[str, Callable[[Layout, str], None]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3moe": _qwen3,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "olmo2": _olmo2,
}
