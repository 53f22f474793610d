"""The sizes of well-known models, under the names that `python -m benchmarks.synth` takes.

The numbers are those of each model's own config.json.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from ggufjac.errors import UserError


@dataclass(frozen=True)
class Shape:
    """The hyper-parameters of one model.

    arch: GGUF's name of the architecture. n_ff: hidden entries of a dense MLP, or of one expert. stretch: Llama 3's
    factor on low RoPE frequencies, or Gemma 3's on those of its global layers (1: none). window: positions that a local
    layer sees (0: no local layers). n_expert: 0 in a dense model.
    """

    arch: str
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_vocab: int
    n_ctx: int
    rope_base: float
    eps: float = 1e-5
    tied: bool = False
    stretch: float = 1.0
    window: int = 0
    n_expert: int = 0
    n_expert_used: int = 0

    @property
    def n_q(self) -> int:
        """Rows of the query projection."""
        return self.n_head * self.head_dim

    @property
    def n_kv(self) -> int:
        """Rows of the key projection, and of the value projection."""
        return self.n_head_kv * self.head_dim


def _llama3(n_layer: int, n_embd: int, n_ff: int, n_head: int, head_dim: int, stretch: float, tied: bool) -> Shape:
    sizes = (n_layer, n_embd, n_ff, n_head, 8, head_dim)
    return Shape("llama", *sizes, 128256, 131072, 5e5, stretch=stretch, tied=tied)


def _qwen3(n_layer: int, n_embd: int, n_ff: int, n_head: int, tied: bool) -> Shape:
    return Shape("qwen3", n_layer, n_embd, n_ff, n_head, 8, 128, 151936, 40960, 1e6, 1e-6, tied)


def _gemma3(
    n_layer: int, n_embd: int, n_ff: int, heads: tuple[int, int], head_dim: int, window: int, stretch: float = 8.0
) -> Shape:
    n_ctx = 131072 if stretch > 1 else 32768
    return Shape("gemma3", n_layer, n_embd, n_ff, *heads, head_dim, 262144, n_ctx, 1e6, 1e-6, True, stretch, window)


SHAPES: dict[str, Shape] = {
    "smollm2-135m": Shape("llama", 30, 576, 1536, 9, 3, 64, 49152, 8192, 1e5, tied=True),
    "llama3.2-1b": _llama3(16, 2048, 8192, 32, 64, 32.0, True),
    "llama3.2-3b": _llama3(28, 3072, 8192, 24, 128, 32.0, True),
    "llama3.1-8b": _llama3(32, 4096, 14336, 32, 128, 8.0, False),
    "llama3.3-70b": _llama3(80, 8192, 28672, 64, 128, 8.0, False),
    "mixtral-8x7b": Shape("llama", 32, 4096, 14336, 32, 8, 128, 32000, 32768, 1e6, n_expert=8, n_expert_used=2),
    "qwen2.5-7b": Shape("qwen2", 28, 3584, 18944, 28, 4, 128, 152064, 32768, 1e6, 1e-6),
    "qwen2.5-72b": Shape("qwen2", 80, 8192, 29568, 64, 8, 128, 152064, 32768, 1e6, 1e-6),
    "qwen3-0.6b": _qwen3(28, 1024, 3072, 16, True),
    "qwen3-8b": _qwen3(36, 4096, 12288, 32, False),
    "qwen3-14b": _qwen3(40, 5120, 17408, 40, False),
    "qwen3-32b": _qwen3(64, 5120, 25600, 64, False),
    "qwen3-30b-a3b": Shape(
        "qwen3moe", 48, 2048, 768, 32, 4, 128, 151936, 40960, 1e6, 1e-6, n_expert=128, n_expert_used=8
    ),
    "gemma3-270m": _gemma3(18, 640, 2048, (4, 1), 256, 512, 1.0),
    "gemma3-1b": _gemma3(26, 1152, 6912, (4, 1), 256, 512, 1.0),
    "gemma3-4b": _gemma3(34, 2560, 10240, (8, 4), 256, 1024),
    "gemma3-12b": _gemma3(48, 3840, 15360, (16, 8), 256, 1024),
    "gemma3-27b": _gemma3(62, 5376, 21504, (32, 16), 128, 1024),
    "phi4-14b": Shape("phi3", 40, 5120, 17920, 40, 10, 128, 100352, 16384, 2.5e5),
    "olmo2-7b": Shape("olmo2", 32, 4096, 11008, 32, 32, 128, 100352, 4096, 5e5, 1e-6),
    "olmo2-13b": Shape("olmo2", 40, 5120, 13824, 40, 40, 128, 100352, 4096, 5e5, 1e-6),
}


def named(name: str, changes: Iterable[str] = ()) -> Shape:
    """The shape called `name`, with changes such as "n_layer=4". Raises UserError for an unknown name or field."""
    if name not in SHAPES:
        raise UserError(f"there is no shape {name!r}; choose one of {', '.join(SHAPES)}")
    shape = SHAPES[name]
    values = {field.name: getattr(shape, field.name) for field in fields(shape) if field.name != "arch"}
    changed: dict[str, Any] = {}
    for change in changes:
        key, _, text = change.partition("=")
        if key not in values:
            raise UserError(f"{change!r}: write field=number, the field one of {', '.join(values)}")
        kind = type(values[key])
        try:
            changed[key] = kind(int(text)) if kind is not float else float(text)
        except ValueError:
            raise UserError(f"{change!r}: {text!r} is no number that {key} can have") from None
    return replace(shape, **changed)
