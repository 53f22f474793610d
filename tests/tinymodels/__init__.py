"""Small GGUF files with random weights, one function per model family, that llama.cpp itself loads and judges.

make("gemma3", tmp_path / "tiny.gguf", n_layer=8, window=20)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tinymodels import decoders
from tinymodels.builder import Shape, Tiny
from tinymodels.tokenizer import BOS, EOS, TOKENS, UNK, VOCAB_SIZE

__all__ = ["BOS", "EOS", "FAMILIES", "TOKENS", "UNK", "VOCAB_SIZE", "Family", "Shape", "Tiny", "make"]


@dataclass(frozen=True)
class Family:
    """How to fill a model of one architecture, and its usual sizes."""

    fill: Callable[..., None]
    shape: Shape = field(default_factory=Shape)


FAMILIES: dict[str, Family] = {
    "llama": Family(decoders.llama),
    "gemma3": Family(decoders.gemma3, Shape(n_layer=7)),  # the sixth layer is the first global one
    "qwen3": Family(decoders.qwen3, Shape(head_dim=128)),
    "qwen2": Family(decoders.qwen2),
    "phi3": Family(decoders.phi3),
    "olmo2": Family(decoders.olmo2, Shape(n_layer=4)),  # OLMo 3's fourth layer is the first global one
    "mistral3": Family(decoders.mistral3),
}


def make(family: str, path: str | os.PathLike[str], *, seed: int = 0, **overrides: Any) -> Path:
    """Write a tiny model of a family (a key of FAMILIES, and the architecture's name) and return its path.

    overrides: sizes (the fields of Shape) and the family's own variants (the keyword arguments of its function);
    TypeError for anything else.
    """
    known = FAMILIES[family]
    sizes = {f.name: overrides.pop(f.name) for f in fields(Shape) if f.name in overrides}
    tiny = Tiny(family, replace(known.shape, **sizes), seed)
    known.fill(tiny, **overrides)
    return tiny.write(Path(path))
