"""`Tiny` collects the keys and random tensors of one small model and writes them as a GGUF file.

Scales keep a forward pass lively: with inputs of size 1 a matrix of scale 1 has outputs of size 1, so hidden states
stay near 1, and query and key matrices of scale QK give attention scores that spread by more than 1. Norm weights and
biases are far from 1 and 0, because a forgotten weight that equals its default would go unnoticed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter
from gguf.quants import quantize

from tinymodels.tokenizer import VOCAB_SIZE, add_tokenizer

Value = bool | int | float | str | list[int] | list[float] | list[bool] | npt.NDArray[np.uint64]

QK = 1.3


@dataclass(frozen=True)
class Shape:
    """The sizes of a tiny model; rows of every matrix are multiples of 256, which K-quants ask for."""

    n_layer: int = 2
    n_embd: int = 256
    n_ff: int = 512
    n_head: int = 4
    n_head_kv: int = 2
    head_dim: int = 64
    n_ctx: int = 1024  # what the file claims that the model was trained for

    @property
    def n_q(self) -> int:
        """Rows of the query projection."""
        return self.n_head * self.head_dim

    @property
    def n_kv(self) -> int:
        """Rows of the key projection, and of the value projection."""
        return self.n_head_kv * self.head_dim


class Tiny:
    """A small model in the making. Every tensor depends on the seed and its own name only, not on its neighbours."""

    def __init__(self, arch: str, shape: Shape, seed: int) -> None:
        self.arch = arch
        self.shape = shape
        self._seed = seed
        self._values: dict[str, Value] = {}
        self._tensors: dict[str, npt.NDArray[np.float32]] = {}
        self._integers: dict[str, npt.NDArray[np.int32]] = {}
        self._packed: dict[str, str] = {}

    def kv(self, key: str, value: Value | None) -> None:
        """Set a key of this architecture ("rope.freq_base"); integers become uint32 unless they are an array, floats
        float32, None drops it."""
        if value is None:
            self._values.pop(f"{self.arch}.{key}", None)
        else:
            self._values[f"{self.arch}.{key}"] = value

    def raw(self, key: str, value: Value) -> None:
        """Set a key that has no architecture before it."""
        self._values[key] = value

    def norm(self, name: str, n: int) -> None:
        """A norm's weight, between 0.3 and 2."""
        self.tensor(f"{name}.weight", self._random(f"{name}.weight").uniform(0.3, 2.0, n))

    def norms(self, name: str, n: int, n_entries: int) -> None:
        """The weights of n norms in one tensor: every head's."""
        self.tensor(f"{name}.weight", self._random(f"{name}.weight").uniform(0.3, 2.0, (n, n_entries)))

    def bias(self, name: str, n: int) -> None:
        """A bias, of the size of what it is added to."""
        self.tensor(f"{name}.bias", 0.5 * self._random(f"{name}.bias").standard_normal(n))

    def biases(self, name: str, n: int, n_out: int) -> None:
        """The biases of a stack of matrices."""
        self.tensor(f"{name}.bias", 0.5 * self._random(f"{name}.bias").standard_normal((n, n_out)))

    def matrix(self, name: str, n_out: int, n_in: int, scale: float = 1.0) -> None:
        """A weight matrix that multiplies the size of its input by about `scale`."""
        self._gaussian(name, (n_out, n_in), scale)

    def stack(self, name: str, n_matrices: int, n_out: int, n_in: int, scale: float = 1.0) -> None:
        """Several such matrices in one tensor: the experts of a layer."""
        self._gaussian(name, (n_matrices, n_out, n_in), scale)

    def gate(self, name: str, n: int) -> None:
        """A vector whose product with an input of size 1 is about 2: what a sigmoid is taken of."""
        self.tensor(f"{name}.weight", 2 / np.sqrt(n) * self._random(f"{name}.weight").standard_normal(n))

    def factors(self, name: str, n: int, low: float, high: float) -> None:
        """One-dimensional numbers, uniform between two bounds: frequency factors and the like."""
        self.tensor(f"{name}.weight", self._random(f"{name}.weight").uniform(low, high, n))

    def adapters(self, name: str, n: int, rank: int, n_out: int, n_in: int, *, idle: bool = True) -> None:
        """n low-rank adapters beside the matrix of this name, each with outputs of about the size of its input; `idle`:
        the first one has none."""
        for end, shape in (("lora_a", (n, rank, n_in)), ("lora_b", (n, n_out, rank))):
            entries = self._random(f"{name}.{end}").standard_normal(shape) / np.sqrt(shape[-1])
            entries[0] *= not idle
            self.tensor(f"{name}.{end}", entries)

    def uniform(self, name: str, shape: tuple[int, ...], low: float, high: float) -> None:
        """A tensor by its whole name, uniform between two bounds."""
        self.tensor(name, self._random(name).uniform(low, high, shape))

    def tensor(self, name: str, array: npt.NDArray[np.floating]) -> None:
        """A tensor as it is, stored as float32, outermost axis first; a name can be given once."""
        if name in self._tensors:
            raise ValueError(f"tensor {name} is already there")
        self._tensors[name] = np.ascontiguousarray(array, dtype=np.float32)

    def choices(self, name: str, n: int, n_chosen: int, n_options: int) -> None:
        """A table of integers, by its whole name: in each of n rows so many different ones of the options."""
        ranked = self._random(name).random((n, n_options)).argsort(-1)
        self._integers[name] = np.ascontiguousarray(ranked[:, :n_chosen], dtype=np.int32)

    def pack(self, name: str, kind: str) -> None:
        """Store a tensor that is there quantised, in a type by its name ("Q4_0")."""
        if name not in self._tensors:
            raise ValueError(f"there is no tensor {name}")
        self._packed[name] = kind

    def reshape(self, shaped: Callable[[tuple[int, ...]], tuple[int, ...]]) -> None:
        """Give every tensor that is there another shape, which `shaped` makes of its own: outermost axis first."""
        self._tensors = {name: array.reshape(shaped(array.shape)) for name, array in self._tensors.items()}

    def write(self, path: Path) -> Path:
        """Write the file and return its path."""
        writer = GGUFWriter(path, self.arch)
        writer.add_name("tiny")  # not the family: llama.cpp expects more of the vocabulary of a model named phi3
        writer.add_file_type(0)
        for key, value in self._values.items():
            if isinstance(value, bool):  # before int, which a bool also is
                writer.add_bool(key, value)
            elif isinstance(value, int):
                writer.add_uint32(key, value)
            elif isinstance(value, float):
                writer.add_float32(key, value)
            elif isinstance(value, str):
                writer.add_string(key, value)
            elif isinstance(value, np.ndarray):
                writer.add_key_value(key, value.tolist(), GGUFValueType.ARRAY, GGUFValueType.UINT64)
            else:
                writer.add_array(key, value)
        add_tokenizer(writer)
        for name, array in self._tensors.items():
            if name in self._packed:
                kind = GGMLQuantizationType[self._packed[name]]
                writer.add_tensor(name, quantize(array, kind), raw_dtype=kind)
            else:
                writer.add_tensor(name, array)
        for name, table in self._integers.items():
            writer.add_tensor(name, table)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def _gaussian(self, name: str, shape: tuple[int, ...], scale: float) -> None:
        entries = self._random(f"{name}.weight").standard_normal(shape)
        self.tensor(f"{name}.weight", scale / np.sqrt(shape[-1]) * entries)

    def _random(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])


def transformer_keys(t: Tiny, *, rope_base: float = 10000.0, eps: float = 1e-5) -> None:
    """The keys that every transformer with RMS norms has."""
    s = t.shape
    t.kv("block_count", s.n_layer)
    t.kv("context_length", s.n_ctx)
    t.kv("embedding_length", s.n_embd)
    t.kv("feed_forward_length", s.n_ff)
    t.kv("attention.head_count", s.n_head)
    t.kv("attention.head_count_kv", s.n_head_kv)
    t.kv("attention.key_length", s.head_dim)
    t.kv("attention.value_length", s.head_dim)
    t.kv("attention.layer_norm_rms_epsilon", eps)
    t.kv("rope.dimension_count", s.head_dim)
    t.kv("rope.freq_base", rope_base)


def ends(t: Tiny, *, tied: bool, size: float = 1.0, output_norm: str = "output_norm") -> None:
    """Embeddings of about `size`, the output norm, and the head unless it is the embeddings once more.

    A tied head multiplies by the rows of the embeddings, so they must be small for logits of a few units.
    """
    s = t.shape
    if tied:
        size = min(size, 4.0 / np.sqrt(s.n_embd))
    t.matrix("token_embd", VOCAB_SIZE, s.n_embd, size * np.sqrt(s.n_embd))
    t.norm(output_norm, s.n_embd)
    if not tied:
        t.matrix("output", VOCAB_SIZE, s.n_embd, 2.0)


def attention(t: Tiny, block: str, *, bias: bool = False, output_bias: bool = False, fused: bool = False) -> None:
    """Query, key, value and output projections; `fused`: the first three in one matrix."""
    s = t.shape
    if fused:
        t.matrix(f"{block}.attn_qkv", s.n_q + 2 * s.n_kv, s.n_embd, QK)
    else:
        t.matrix(f"{block}.attn_q", s.n_q, s.n_embd, QK)
        t.matrix(f"{block}.attn_k", s.n_kv, s.n_embd, QK)
        t.matrix(f"{block}.attn_v", s.n_kv, s.n_embd)
    t.matrix(f"{block}.attn_output", s.n_embd, s.n_q)
    if bias and fused:
        t.bias(f"{block}.attn_qkv", s.n_q + 2 * s.n_kv)
    elif bias:
        t.bias(f"{block}.attn_q", s.n_q)
        t.bias(f"{block}.attn_k", s.n_kv)
        t.bias(f"{block}.attn_v", s.n_kv)
    if output_bias:
        t.bias(f"{block}.attn_output", s.n_embd)


def gated_mlp(t: Tiny, block: str, *, bias: bool = False, kind: str = "", n_ff: int = 0) -> None:
    """Gate, up and down projections; the product of gate and up is smaller than its factors, hence down's scale."""
    s = t.shape
    n_ff = n_ff or s.n_ff
    for name, n_out, n_in, scale in (
        (f"ffn_gate{kind}", n_ff, s.n_embd, 1.0),
        (f"ffn_up{kind}", n_ff, s.n_embd, 1.0),
        (f"ffn_down{kind}", s.n_embd, n_ff, 1.5),
    ):
        t.matrix(f"{block}.{name}", n_out, n_in, scale)
        if bias:
            t.bias(f"{block}.{name}", n_out)


def expert_mlps(
    t: Tiny,
    block: str,
    *,
    experts: int,
    used: int,
    n_ff: int = 0,
    bias: bool = False,
    hidden: float = 1.0,
    fused: bool = False,
    narrow: int = 0,
) -> None:
    """A router and stacks of gated MLPs. The router's scale makes its choices clear, so that rounding flips none.

    hidden: the size of what gate and up give, for families that clamp it. fused: gate and up in one matrix. narrow:
    entries of the states that the experts see, 0: all.
    """
    s = t.shape
    n_ff, n = n_ff or s.n_ff, narrow or s.n_embd
    t.kv("expert_count", experts)
    t.kv("expert_used_count", used)
    t.matrix(f"{block}.ffn_gate_inp", experts, s.n_embd, 3.0)
    if fused:
        t.stack(f"{block}.ffn_gate_up_exps", experts, 2 * n_ff, n, hidden)
    else:
        t.stack(f"{block}.ffn_gate_exps", experts, n_ff, n, hidden)
        t.stack(f"{block}.ffn_up_exps", experts, n_ff, n, hidden)
    t.stack(f"{block}.ffn_down_exps", experts, n, n_ff, 1.5 / hidden**2)
    if bias:
        t.bias(f"{block}.ffn_gate_inp", experts)
        t.biases(f"{block}.ffn_gate_exps", experts, n_ff)
        t.biases(f"{block}.ffn_up_exps", experts, n_ff)
        t.biases(f"{block}.ffn_down_exps", experts, s.n_embd)


def blocks(t: Tiny) -> list[str]:
    """The name prefixes of all layers."""
    return [f"blk.{layer}" for layer in range(t.shape.n_layer)]
