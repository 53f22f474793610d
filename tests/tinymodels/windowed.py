"""Decoders with sliding windows, gates on the attention's output or passes that repeat: one function each.

Names and required keys are those of llama.cpp's src/models/<arch>.cpp and llama-arch.cpp. The keyword arguments are the
variants that real files of the family come in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymodels.builder import QK, Tiny, attention, blocks, ends, expert_mlps, gated_mlp, transformer_keys
from tinymodels.classics import layernorm, layernorm_ends, layernorm_keys, sequential
from tinymodels.more_decoders import freqs, head_norms
from tinymodels.shared_experts import mixture
from tinymodels.tokenizer import VOCAB_SIZE


def window_keys(t: Tiny, window: int, local: list[bool] | None = None, base: float | None = None) -> None:
    """The size of windows, which layers have one, and the base of RoPE there."""
    t.kv("attention.sliding_window", window)
    if local is not None:
        t.kv("attention.sliding_window_pattern", local)
    if base is not None:
        t.kv("rope.freq_base_swa", base)


def gate(t: Tiny, block: str, n: int) -> None:
    """What the gates of the attention's output, n of them, are made of."""
    t.matrix(f"{block}.attn_gate", n, t.shape.n_embd, 2.0)


def jais(t: Tiny, *, alibi: float = 8.0) -> None:
    """Jais; its scores are divided by the length of a head, so that queries are large."""
    s = t.shape
    layernorm_keys(t, rope=False)
    t.kv("attention.max_alibi_bias", alibi)
    layernorm_ends(t, tied=False)
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm")
        t.matrix(f"{block}.attn_qkv", s.n_q + 2 * s.n_kv, s.n_embd, 3.0)
        t.bias(f"{block}.attn_qkv", s.n_q + 2 * s.n_kv)
        t.matrix(f"{block}.attn_output", s.n_embd, s.n_q)
        t.bias(f"{block}.attn_output", s.n_embd)
        layernorm(t, f"{block}.ffn_norm")
        gated_mlp(t, block, bias=True)


def jais2(t: Tiny, *, tied: bool = False) -> None:
    """Jais 2."""
    layernorm_keys(t, rope_base=500000.0)
    layernorm_ends(t, tied=tied)
    for block in blocks(t):
        sequential(t, block)


def nanbeige(t: Tiny, *, loops: int | None = None, skip: bool = False, tied: bool = False) -> None:
    """Nanbeige; loops: how many times all blocks are passed; skip: without the norm between two passes."""
    s = t.shape
    transformer_keys(t, rope_base=5e6)
    t.kv("num_loops", loops)
    if skip:
        t.kv("skip_loop_final_norm", True)
    if tied:
        freqs(t)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def maincoder(t: Tiny, *, tied: bool = False) -> None:
    """Maincoder."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def pangu_embedded(t: Tiny, *, tied: bool = False) -> None:
    """openPangu Embedded."""
    s = t.shape
    transformer_keys(t)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=True, output_bias=True)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def plamo3(t: Tiny, *, window: int = 0, base: float | None = None, tied: bool = False) -> None:
    """PLaMo 3; two of its norms' names have no ending."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    if window:
        window_keys(t, window, base=base)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, fused=True)
        head_norms(t, block)
        t.uniform(f"{block}.post_attention_norm", (s.n_embd,), 0.3, 2.0)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        t.matrix(f"{block}.ffn_up", 2 * s.n_ff, s.n_embd)
        t.matrix(f"{block}.ffn_down", s.n_embd, s.n_ff, 1.5)
        t.uniform(f"{block}.post_ffw_norm", (s.n_embd,), 0.3, 2.0)


def granite_swa(t: Tiny, *, experts: int = 0, shared: int = 0, plain: bool = False) -> None:
    """Granite with windows and sinks; plain: without the multipliers that a file can leave out."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    window_keys(t, 12, [i % 2 == 0 for i in range(s.n_layer)])
    t.kv("logit_scale", 0.5)
    if not plain:
        t.kv("residual_scale", 0.6)
        t.kv("embedding_scale", 0.7)
        t.kv("attention.scale", 0.3)
        t.kv("attention.rope_pattern", [i % 2 == 0 for i in range(s.n_layer)])
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=not plain, output_bias=not plain)
        t.factors(f"{block}.attn_sinks", s.n_head, 1.0, 3.0)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if not experts:
            gated_mlp(t, block)
            continue
        expert_mlps(t, block, experts=experts, used=2)
        if shared:
            t.kv("expert_shared_feed_forward_length", shared)
            t.matrix(f"{block}.ffn_up_shexp", 2 * shared, s.n_embd)
            t.matrix(f"{block}.ffn_down_shexp", s.n_embd, shared, 1.5)


def cohere2moe(t: Tiny, *, rms: bool = False, **experts: Any) -> None:
    """Cohere 2 with experts; rms: with RMSNorm in place of LayerNorm."""
    s = t.shape
    layernorm_keys(t, rope_base=50000.0)
    if rms:
        t.kv("attention.layer_norm_epsilon", None)
        t.kv("attention.layer_norm_rms_epsilon", 1e-5)
    window_keys(t, 12)
    t.kv("logit_scale", 0.25)
    ends(t, tied=True)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
    mixture(t, bias=False, **experts)


def laguna(t: Tiny, *, window: int = 12, per_head: bool = True, count: int | None = None, **experts: Any) -> None:
    """Laguna; per_head: one gate per head, not per entry."""
    s = t.shape
    transformer_keys(t, rope_base=500000.0)
    t.kv("rope.dimension_count", s.head_dim // 2)
    t.kv("rope.scaling.type", "yarn")
    t.kv("rope.scaling.factor", 32.0)
    t.kv("rope.scaling.original_context_length", 64)
    if window:
        window_keys(t, window, base=300.0)
        t.kv("rope.dimension_count_swa", s.head_dim)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        head_norms(t, block)
        gate(t, block, s.n_head if per_head else s.n_q)
        t.norm(f"{block}.ffn_norm", s.n_embd)
    mixture(t, shared=count or 1, **experts)
    t.kv("expert_shared_count", count)
    if count is None:
        t.kv("expert_shared_feed_forward_length", 96)


def muse_glimmer(t: Tiny, *, cap: float = 4.0) -> None:
    """Muse Glimmer."""
    s = t.shape
    transformer_keys(t, rope_base=500000.0)
    window_keys(t, 12)
    t.kv("logit_scale", 0.5)
    t.kv("final_logit_softcapping", cap)
    ends(t, tied=False, size=0.5)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        head_norms(t, block)
        gate(t, block, s.n_q)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)
        t.norm(f"{block}.post_ffw_norm", s.n_embd)


def spark2_5(t: Tiny, *, base: float | None = 300.0, tied: bool = False) -> None:
    """Spark 2.5."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    t.kv("rope.scaling.factor", 4.0)
    window_keys(t, 12, [i % 2 == 0 for i in range(s.n_layer)], base)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        gate(t, block, s.n_head)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def talkie(t: Tiny) -> None:
    """Talkie: no norm but that of queries has a weight, and that one number per head."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    t.kv("logit_scale", 0.5)
    t.matrix("token_embd", VOCAB_SIZE, s.n_embd, np.sqrt(s.n_embd))
    t.matrix("output", VOCAB_SIZE, s.n_embd, 2.0)
    for block in blocks(t):
        attention(t, block)
        t.uniform(f"{block}.attn_q_norm.weight", (s.n_head, 1), 0.5, 2.0)
        gated_mlp(t, block)
        t.uniform(f"{block}.layer_output_scale.weight", (1,), 0.5, 1.0)


def step35(t: Tiny, *, limits: bool = True, norms: bool = True, gates: bool = True, **experts: Any) -> None:
    """Step 3.5 Flash; the last layer is a global one, which rotates half as much and with Llama 3's factors."""
    s = t.shape
    transformer_keys(t, rope_base=5e6)
    window_keys(t, 12, [i != s.n_layer - 1 for i in range(s.n_layer)], 300.0 if limits else None)
    if limits:
        freqs(t)
        t.kv("swiglu_clamp_exp", [0.4 + 0.1 * i for i in range(s.n_layer)])
        t.kv("swiglu_clamp_shexp", [0.5 + 0.1 * i for i in range(s.n_layer)])
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        if norms:
            head_norms(t, block)
        if gates:
            gate(t, block, s.n_head)
        t.norm(f"{block}.ffn_norm", s.n_embd)
    mixture(t, shared=1, **experts)
    t.kv("leading_dense_block_count", None)
    t.kv("expert_shared_count", None)
    t.kv("expert_shared_feed_forward_length", 96)


def mimo2(t: Tiny, *, sinks: bool = True, fused: bool = False, value_dim: int = 32, base: float | None = 300.0) -> None:
    """MiMo V2: values are shorter than keys."""
    s = t.shape
    transformer_keys(t, rope_base=5e6)
    t.kv("attention.value_length", value_dim)
    t.kv("rope.dimension_count", s.head_dim // 2)
    window_keys(t, 12, [i != 0 for i in range(s.n_layer)], base)
    t.kv("expert_feed_forward_length", 96)
    t.kv("attention.value_scale", 0.6)
    ends(t, tied=False)
    n_value = s.n_head_kv * value_dim
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        if fused:
            t.matrix(f"{block}.attn_qkv", s.n_q + s.n_kv + n_value, s.n_embd, QK)
        else:
            t.matrix(f"{block}.attn_q", s.n_q, s.n_embd, QK)
            t.matrix(f"{block}.attn_k", s.n_kv, s.n_embd, QK)
            t.matrix(f"{block}.attn_v", n_value, s.n_embd)
        t.matrix(f"{block}.attn_output", s.n_embd, s.n_head * value_dim)
        if sinks and i > 0:
            t.factors(f"{block}.attn_sinks", s.n_head, 1.0, 3.0)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if i == 0:
            gated_mlp(t, block)
            continue
        expert_mlps(t, block, experts=8, used=3, n_ff=96)
        if sinks:
            t.bias(f"{block}.exp_probs_b", 8)


def hy_v3(t: Tiny, *, tied: bool = False, shared: int = 128, fused: bool = False) -> None:
    """HY 3; shared: hidden entries of the shared expert, as many as the others have if it is 0."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    ends(t, tied=tied)
    n_ff = 96
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
    mixture(t, shared=0, n_ff_expert=n_ff, bias=False, fused=fused)
    t.kv("leading_dense_block_count", None)
    t.kv("expert_shared_count", None)
    if shared:
        t.kv("expert_shared_feed_forward_length", shared)
    for block in blocks(t)[1:]:
        gated_mlp(t, block, kind="_shexp", n_ff=shared or n_ff)
        t.uniform(f"{block}.exp_probs_b", (8,), -1.0, 1.0)
