"""Small GGUF files with random weights, one function per model family, that llama.cpp itself loads and judges.

make("gemma3", tmp_path / "tiny.gguf", n_layer=8, window=20)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from tinymodels import decoders, mixtures
from tinymodels.builder import Shape, Tiny, Value
from tinymodels.tokenizer import BOS, EOS, TOKENS, UNK, VOCAB_SIZE

__all__ = ["BOS", "EOS", "FAMILIES", "TOKENS", "UNK", "VOCAB_SIZE", "Family", "Shape", "Tiny", "make"]


@dataclass(frozen=True)
class Family:
    """How to fill a model of one architecture, its usual sizes, and the forms that its real files come in.

    variants: name -> overrides of `make`. ignored: keys that real files have and llama.cpp does not read.
    """

    fill: Callable[..., None]
    shape: Shape = field(default_factory=Shape)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


YARN: dict[str, Value | None] = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 256,
}

FAMILIES: dict[str, Family] = {
    "llama": Family(
        decoders.llama,
        variants={
            "llama 3": {"rope_freqs": True, "tied": True},
            "linear scaling": {"rope_scale": 4.0},
            "yarn": {"keys": YARN},
            "longrope": {"longrope": True},
            "biases": {"attention_bias": True, "mlp_bias": True},
            "large heads": {"head_dim": 128, "n_head_kv": 1},
            "experts": {"experts": 4},
            "grouped experts": {"experts": 8, "keys": {"expert_group_count": 4, "expert_group_used_count": 2}},
        },
    ),
    "gemma3": Family(
        decoders.gemma3,
        Shape(n_layer=7),  # the sixth layer is the first global one
        variants={
            "1b": {"rope_scale": 1.0, "swa_base": 500.0},
            "softcap": {"softcap": 3.0, "keys": {"attention.sliding_window_pattern": 2}},
            "pattern": {"keys": {"attention.sliding_window_pattern": [True, False, False, True, True, False, True]}},
            "no window": {"keys": {"attention.sliding_window": None}},
            "yarn": {"keys": YARN},
            # llama.cpp knows the 27B by its layers; its heads are smaller than n_embd / n_head
            "27b": {"n_layer": 62, "n_embd": 128, "n_ff": 64, "n_head": 2, "n_head_kv": 1, "head_dim": 32},
        },
    ),
    "qwen3": Family(decoders.qwen3, Shape(head_dim=128), variants={"tied": {"tied": True}, "yarn": {"keys": YARN}}),
    "qwen2": Family(
        decoders.qwen2,
        variants={"tied": {"tied": True, "output_bias": True}, "yarn": {"keys": YARN}, "fused": {"fused": True}},
    ),
    "phi3": Family(
        decoders.phi3,
        variants={"tied": {"tied": True, "n_rot": 64}, "4k": {"longrope": False}},
        ignored=frozenset({"attention.sliding_window"}),
    ),
    "olmo2": Family(
        decoders.olmo2,
        Shape(n_layer=4),  # OLMo 3's fourth layer is the first global one
        variants={
            "yarn": {"yarn": True},
            "olmo 3": {"window": 12, "yarn": True, "keys": {"rope.freq_base_swa": 100.0}},
            "pattern": {"window": 12, "keys": {"attention.sliding_window_pattern": 2}},
        },
        ignored=frozenset({"rope.freq_base_swa"}),
    ),
    "mistral3": Family(
        decoders.mistral3,
        variants={
            "tied": {"tied": True, "temperature": 0.0},
            "no yarn": {"yarn": False},
            "log multiplier": {"log_mul": 0.5},
            "biases": {"attention_bias": True, "mlp_bias": True},
            "experts": {"experts": 4},
        },
    ),
    "qwen2moe": Family(mixtures.qwen2moe, variants={"sizes left out": {"n_ff_expert": 0, "n_ff_shared": 0}}),
    "qwen3moe": Family(
        mixtures.qwen3moe,
        Shape(n_ff=768, head_dim=128),
        variants={"tied, size left out": {"tied": True, "n_ff_expert": 0}, "yarn": {"keys": YARN}},
    ),
    "olmoe": Family(mixtures.olmoe, Shape(n_head_kv=4, n_ff=256)),
    "gemma": Family(decoders.gemma, Shape(head_dim=128, n_head_kv=1)),
    "gemma2": Family(
        decoders.gemma2,
        Shape(n_layer=4),
        variants={
            "limits left out": {
                "keys": {
                    "attn_logit_softcapping": None,
                    "final_logit_softcapping": None,
                    "attention.sliding_window": None,
                }
            },
            "bases": {"keys": {"rope.freq_base_swa": 300.0, "attention.sliding_window_pattern": 0}},
            "27b": {"n_layer": 46, "n_embd": 128, "n_ff": 64, "n_head": 2, "n_head_kv": 1, "head_dim": 32},
        },
    ),
    "granite": Family(
        decoders.granite,
        variants={
            "biases": {"attention_bias": True, "mlp_bias": True, "tied": True},
            "no positions": {"finetuned": False},
            "plain multipliers": {"keys": {"embedding_scale": None, "residual_scale": None, "attention.scale": None}},
        },
    ),
    "granitemoe": Family(
        partial(decoders.granite, experts=4, finetuned=False),
        variants={"shared expert": {"shared": 256}},
        ignored=frozenset({"rope.scaling.finetuned"}),
    ),
    "smollm3": Family(decoders.smollm3, Shape(n_layer=4), variants={"tied": {"tied": True}}),
    "gpt-oss": Family(mixtures.gpt_oss, variants={"no yarn": {"yarn": False, "keys": {"rope.freq_base_swa": 300.0}}}),
}


def make(
    family: str,
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    keys: Mapping[str, Value | None] | None = None,
    **overrides: Any,
) -> Path:
    """Write a tiny model of a family (a key of FAMILIES, and the architecture's name) and return its path.

    keys: keys of the architecture to set, or to leave out (None). overrides: sizes (the fields of Shape) and the
    family's own variants (the keyword arguments of its function); TypeError for anything else.
    """
    known = FAMILIES[family]
    sizes = {f.name: overrides.pop(f.name) for f in fields(Shape) if f.name in overrides}
    tiny = Tiny(family, replace(known.shape, **sizes), seed)
    known.fill(tiny, **overrides)
    for key, value in (keys or {}).items():
        tiny.kv(key, value)
    return tiny.write(Path(path))
