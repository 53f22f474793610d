"""Decoders with latent attention, indexers, delta attention or lightning attention: one function each.

Names and required keys are those of llama.cpp's src/models/<arch>.cpp and llama-arch.cpp. The keyword arguments are the
variants that real files of the family come in.
"""

from __future__ import annotations

from typing import Any

from tinymodels.builder import QK, Tiny, attention, blocks, ends, expert_mlps, transformer_keys
from tinymodels.more_decoders import head_norms
from tinymodels.shared_experts import deepseek2, mixture
from tinymodels.windowed import gate, window_keys

#: The sizes of models whose other sizes are those of single parts.
SIZES = ("embedding_length", "attention.head_count", "block_count")


def indexer(t: Tiny, block: str, q_rank: int, *, heads: int, n: int) -> None:
    """What an indexer is made of."""
    t.matrix(f"{block}.indexer.attn_q_b", heads * n, q_rank, QK)
    t.matrix(f"{block}.indexer.attn_k", n, t.shape.n_embd, QK)
    t.norm(f"{block}.indexer.k_norm", n)
    t.bias(f"{block}.indexer.k_norm", n)
    t.matrix(f"{block}.indexer.proj", heads, t.shape.n_embd)


def indexer_keys(t: Tiny, *, heads: int, n: int, top: int) -> None:
    """How many heads of which length the indexer has, and how many positions it chooses."""
    t.kv("attention.indexer.head_count", heads)
    t.kv("attention.indexer.key_length", n)
    t.kv("attention.indexer.top_k", top)


def deepseek32(
    t: Tiny,
    *,
    q_rank: int = 96,
    heads: int = 8,
    n: int = 64,
    top: int = 24,
    types: list[bool] | None = None,
    owners: list[bool] | None = None,
    **others: Any,
) -> None:
    """DeepSeek V3.2 and GLM 5; types: the layers with an indexer of their own, where the file names them; owners: the
    same where it does not."""
    deepseek2(t, q_rank=q_rank, **others)
    indexer_keys(t, heads=heads, n=n, top=top)
    if types is not None:
        t.kv("attention.indexer.types", types)
    for owns, block in zip(types or owners or [True] * t.shape.n_layer, blocks(t), strict=True):
        if owns:
            indexer(t, block, q_rank, heads=heads, n=n)


def dots3note(t: Tiny, *, q_rank: int = 96, kv_rank: int = 128, n_rot: int = 32, **experts: Any) -> None:
    """dots.note: every second layer is a local one, whose latent vectors and heads are smaller."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    local = [i % 2 == 1 for i in range(s.n_layer)]
    window_keys(t, 12, local, 300.0)
    t.kv("rope.dimension_count", n_rot)
    t.kv("attention.q_lora_rank", q_rank)
    t.kv("attention.head_count_kv", 1)
    sizes = {False: (kv_rank, s.head_dim, 96), True: (kv_rank // 2, 48, 32)}
    for is_local, end in ((False, ""), (True, "_swa")):
        rank, key, value = sizes[is_local]
        t.kv(f"attention.kv_lora_rank{end}", rank)
        t.kv(f"attention.key_length{end}", rank + n_rot)
        t.kv(f"attention.value_length{end}", rank)
        t.kv(f"attention.key_length_mla{end}", key)
        t.kv(f"attention.value_length_mla{end}", value)
    indexer_keys(t, heads=8, n=64, top=9)
    t.kv("attention.indexer.types", [not is_local for is_local in local])
    ends(t, tied=False)
    for is_local, block in zip(local, blocks(t), strict=True):
        rank, key, value = sizes[is_local]
        latent(t, block, rank=rank, n_rot=n_rot, key=key, value=value)
        t.matrix(f"{block}.attn_q_a", q_rank, s.n_embd)
        t.norm(f"{block}.attn_q_a_norm", q_rank)
        t.matrix(f"{block}.attn_q_b", s.n_head * key, q_rank, QK)
        t.norm(f"{block}.attn_k_norm", n_rot)
        gate(t, block, s.n_head)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if not is_local:
            indexer(t, block, q_rank, heads=8, n=64)
    mixture(t, **experts)


def latent(t: Tiny, block: str, *, rank: int, n_rot: int, key: int, value: int) -> None:
    """Latent attention without its queries, and the norm before it."""
    s, content = t.shape, key - n_rot
    t.norm(f"{block}.attn_norm", s.n_embd)
    t.matrix(f"{block}.attn_kv_a_mqa", rank + n_rot, s.n_embd, QK)
    t.norm(f"{block}.attn_kv_a_norm", rank)
    t.stack(f"{block}.attn_k_b", s.n_head, rank, content, (content / rank) ** 0.5)
    t.stack(f"{block}.attn_v_b", s.n_head, value, rank)
    t.matrix(f"{block}.attn_output", s.n_embd, s.n_head * value)


def kimi_linear(t: Tiny, *, bounded: bool = False, q_rank: int = 0, limits: bool = False, **experts: Any) -> None:
    """Kimi Linear: the last layer has latent attention, the others delta attention.

    bounded: Ling 3, whose decays are bounded, and which gates the heads of latent attention.
    """
    s = t.shape
    d, rank, n_rot, value = 64, 128, 32, 48
    transformer_keys(t)
    t.kv("attention.head_count_kv", [int(i == s.n_layer - 1) for i in range(s.n_layer)])
    t.kv("attention.kv_lora_rank", rank)
    t.kv("attention.key_length", rank + n_rot)
    t.kv("attention.value_length", rank)
    t.kv("attention.key_length_mla", s.head_dim)
    t.kv("attention.value_length_mla", value)
    t.kv("rope.dimension_count", n_rot)
    t.kv("ssm.conv_kernel", 4)
    t.kv("kda.head_dim", d)
    if bounded:
        t.kv("kda.gate_lower_bound", -2.0)
    else:
        t.kv("rope.freq_base", None)
    if q_rank:
        t.kv("attention.q_lora_rank", q_rank)
    if limits:
        t.kv("swiglu_clamp_exp", [0.4 + 0.1 * i for i in range(s.n_layer)])
        t.kv("swiglu_clamp_shexp", [0.5 + 0.1 * i for i in range(s.n_layer)])
    ends(t, tied=bounded)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if i < s.n_layer - 1:
            t.norm(f"{block}.attn_norm", s.n_embd)
            delta_attention(t, block, s.n_head * d, d, bounded=bounded)
            continue
        latent(t, block, rank=rank, n_rot=n_rot, key=s.head_dim, value=value)
        if q_rank:
            t.matrix(f"{block}.attn_q_a", q_rank, s.n_embd)
            t.norm(f"{block}.attn_q_a_norm", q_rank)
            t.matrix(f"{block}.attn_q_b", s.n_q, q_rank, QK)
        else:
            t.matrix(f"{block}.attn_q", s.n_q, s.n_embd, QK)
        if bounded:
            gate(t, block, s.n_head)
    mixture(t, norm=bounded, **experts)


def delta_attention(t: Tiny, block: str, n: int, d: int, *, bounded: bool) -> None:
    """Kimi delta attention with heads of d entries, n in all."""
    s = t.shape
    for x in "qkv":
        t.uniform(f"{block}.ssm_conv1d_{x}.weight", (n, 1, 4), -1.0, 1.0)
        t.matrix(f"{block}.attn_{x}", n, s.n_embd, 1.5)
    for x in "fg":
        if bounded:
            t.matrix(f"{block}.ssm_{x}_a", n, s.n_embd)
        else:
            t.matrix(f"{block}.ssm_{x}_a", d, s.n_embd)
            t.matrix(f"{block}.ssm_{x}_b", n, d)
    t.bias(f"{block}.ssm_dt", n)
    low, high = (0.5, 2.0) if bounded else (-0.8, -0.1)
    t.uniform(f"{block}.ssm_a", (s.n_head, 1), low, high)
    t.matrix(f"{block}.ssm_beta", s.n_head, s.n_embd)
    t.norm(f"{block}.ssm_norm", d)
    t.matrix(f"{block}.attn_output", s.n_embd, n)


def minimax_01(t: Tiny, *, named: bool = False, tied: bool = False) -> None:
    """MiniMax Text 01; the last layer has attention; named: the file says so of each layer."""
    s = t.shape
    transformer_keys(t, rope_base=1e7)
    t.kv("rope.dimension_count", s.head_dim // 2)
    t.kv("residual_scale", 1.7)
    if named:
        t.kv("attention.recurrent_layers", [i != s.n_layer - 1 for i in range(s.n_layer)])
    else:
        t.kv("full_attention_interval", s.n_layer)
    ends(t, tied=tied)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        if i == s.n_layer - 1:
            attention(t, block)
        else:
            t.matrix(f"{block}.attn_qkv", 3 * s.n_q, s.n_embd, 1.5)
            t.matrix(f"{block}.attn_gate", s.n_q, s.n_embd)
            t.norm(f"{block}.attn_norm_2", s.n_q)
            t.matrix(f"{block}.attn_output", s.n_embd, s.n_q)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        expert_mlps(t, block, experts=4, used=2)


def minimax_m3(t: Tiny, **experts: Any) -> None:
    """MiniMax M3; its indexers serve flash attention alone."""
    s = t.shape
    transformer_keys(t, rope_base=5e6)
    t.kv("rope.dimension_count", s.head_dim // 2)
    indexer_keys(t, heads=s.n_head_kv, n=32, top=2)
    t.kv("attention.indexer.block_size", 4)
    t.kv("attention.indexer.local_blocks", 1)
    ends(t, tied=False)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if i > 0:
            t.matrix(f"{block}.indexer.q_proj", s.n_head_kv * 32, s.n_embd)
            t.matrix(f"{block}.indexer.k_proj", 32, s.n_embd)
            t.norm(f"{block}.indexer.q_norm", 32)
            t.norm(f"{block}.indexer.k_norm", 32)
    mixture(t, **experts)
