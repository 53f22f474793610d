"""Mixtures with leading dense layers, shared experts and a router that the file describes: one function each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tinymodels.builder import QK, Tiny, attention, blocks, ends, expert_mlps, gated_mlp, transformer_keys
from tinymodels.more_decoders import freqs, head_norms


def mixture(
    t: Tiny,
    *,
    dense: int = 1,
    experts: int = 8,
    used: int = 3,
    n_ff_expert: int = 96,
    shared: int = 2,
    gating: int = 2,
    scale: float = 2.5,
    norm: bool = True,
    bias: bool = True,
    fused: bool = False,
    narrow: int = 0,
) -> None:
    """The MLPs of all layers and the keys that describe them.

    shared: shared experts, each as large as a routed one. gating: 1 softmax, 2 sigmoid. bias: what decides about the
    choice besides the scores, large enough to change it. fused: gate and up of every expert in one matrix. narrow:
    entries of the states that routed experts see, 0: all.
    """
    t.kv("leading_dense_block_count", dense)
    t.kv("expert_feed_forward_length", n_ff_expert)
    t.kv("expert_shared_count", shared)
    t.kv("expert_gating_func", gating)
    t.kv("expert_weights_scale", scale)
    if norm:
        t.kv("expert_weights_norm", True)
    for i, block in enumerate(blocks(t)):
        if i < dense:
            gated_mlp(t, block)
            continue
        expert_mlps(t, block, experts=experts, used=used, n_ff=n_ff_expert, fused=fused, narrow=narrow)
        if shared:
            gated_mlp(t, block, kind="_shexp", n_ff=shared * n_ff_expert)
        if bias:
            t.bias(f"{block}.exp_probs_b", experts)


def deepseek2(
    t: Tiny,
    *,
    split: bool = True,
    q_rank: int | None = 96,
    kv_rank: int = 128,
    n_rot: int = 32,
    value_dim: int = 96,
    tied: bool = False,
    yarn: bool = True,
    temperature: float = 0.0,
    size: float = 1.0,
    **experts: Any,
) -> None:
    """DeepSeek V2 and V3; q_rank None: the key left out, as in the Lite models; 0: no latent queries.

    split: keys and values in two tensors, the first transposed, as current files have them. size: that of the
    embeddings, which calms a model of many layers.
    """
    s = t.shape
    transformer_keys(t, eps=1e-6)
    t.kv("rope.dimension_count", n_rot)
    t.kv("attention.kv_lora_rank", kv_rank)
    t.kv("attention.q_lora_rank", q_rank)
    if split:
        t.kv("attention.head_count_kv", 1)
        t.kv("attention.key_length", kv_rank + n_rot)
        t.kv("attention.value_length", kv_rank)
        t.kv("attention.key_length_mla", s.head_dim)
        t.kv("attention.value_length_mla", value_dim)
    else:
        t.kv("attention.value_length", value_dim)
    if yarn:
        t.kv("rope.scaling.type", "yarn")
        t.kv("rope.scaling.factor", 40.0)
        t.kv("rope.scaling.original_context_length", 256)
        t.kv("rope.scaling.yarn_log_multiplier", 0.0707)
    if temperature:
        t.kv("attention.temperature_scale", temperature)
        t.kv("attention.temperature_length", 16)
    ends(t, tied=tied, size=size)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        latent_attention(t, block, n_rot=n_rot, q_rank=q_rank, kv_rank=kv_rank, value_dim=value_dim, split=split)
        t.norm(f"{block}.ffn_norm", s.n_embd)
    mixture(t, **experts)


def latent_attention(
    t: Tiny, block: str, *, n_rot: int, q_rank: int | None, kv_rank: int, value_dim: int, split: bool
) -> None:
    """The projections of multi-head latent attention; split: keys and values in two tensors, the first transposed."""
    s = t.shape
    content = s.head_dim - n_rot
    if q_rank:
        t.matrix(f"{block}.attn_q_a", q_rank, s.n_embd)
        t.norm(f"{block}.attn_q_a_norm", q_rank)
        t.matrix(f"{block}.attn_q_b", s.n_q, q_rank, QK)
    else:
        t.matrix(f"{block}.attn_q", s.n_q, s.n_embd, QK)
    t.matrix(f"{block}.attn_kv_a_mqa", kv_rank + n_rot, s.n_embd, QK)
    t.norm(f"{block}.attn_kv_a_norm", kv_rank)
    if split:
        t.stack(f"{block}.attn_k_b", s.n_head, kv_rank, content, (content / kv_rank) ** 0.5)
        t.stack(f"{block}.attn_v_b", s.n_head, value_dim, kv_rank)
    else:
        t.matrix(f"{block}.attn_kv_b", s.n_head * (content + value_dim), kv_rank)
    t.matrix(f"{block}.attn_output", s.n_embd, s.n_head * value_dim)


def predictor(t: Tiny) -> None:
    """One layer more, which guesses the token after the next one, with what such a layer has besides its own."""
    s = t.shape
    t.kv("block_count", s.n_layer + 1)
    t.kv("nextn_predict_layers", 1)
    t.shape = replace(s, n_layer=s.n_layer + 1)
    last = f"blk.{s.n_layer}.nextn"
    t.matrix(f"{last}.eh_proj", s.n_embd, 2 * s.n_embd)
    t.norm(f"{last}.enorm", s.n_embd)
    t.norm(f"{last}.hnorm", s.n_embd)


def glm4moe(t: Tiny, *, tied: bool = False, norms: bool = True, ahead: bool = False, **experts: Any) -> None:
    """GLM 4.5; ahead: with one layer more, which guesses the token after the next one."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    t.kv("rope.dimension_count", s.head_dim // 2)
    ends(t, tied=tied)
    if ahead:
        predictor(t)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=True)
        if norms:
            head_norms(t, block)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
    mixture(t, **experts)


def dots1(t: Tiny, **experts: Any) -> None:
    """dots.llm1."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
    mixture(t, **experts)


def bailingmoe2(t: Tiny, **experts: Any) -> None:
    """Ling 2."""
    s = t.shape
    transformer_keys(t, rope_base=600000.0)
    t.kv("rope.dimension_count", s.head_dim // 2)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, fused=True)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
    mixture(t, **experts)


def minimax_m2(t: Tiny, *, gating: int = 2) -> None:
    """MiniMax M2: the key for the experts' size is there and not read."""
    s = t.shape
    transformer_keys(t, rope_base=5e6)
    t.kv("rope.dimension_count", s.head_dim // 2)
    t.kv("expert_feed_forward_length", s.n_ff)
    t.kv("expert_gating_func", gating)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.attn_q_norm", s.n_q)
        t.norm(f"{block}.attn_k_norm", s.n_kv)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        expert_mlps(t, block, experts=8, used=3)
        t.bias(f"{block}.exp_probs_b", 8)


def ernie4_5_moe(t: Tiny, *, tied: bool = False, shared: int = 192, bias: bool = False, n_ff_expert: int = 96) -> None:
    """ERNIE 4.5 with experts; shared: hidden entries of the shared expert."""
    s = t.shape
    transformer_keys(t, rope_base=500000.0)
    t.kv("leading_dense_block_count", 1)
    t.kv("interleave_moe_layer_step", 1)
    t.kv("expert_feed_forward_length", n_ff_expert)
    if shared:
        t.kv("expert_shared_feed_forward_length", shared)
    ends(t, tied=tied)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=bias)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if i == 0:
            gated_mlp(t, block)
            continue
        expert_mlps(t, block, experts=8, used=3, n_ff=n_ff_expert)
        t.bias(f"{block}.exp_probs_b", 8)
        if shared:
            gated_mlp(t, block, kind="_shexp", n_ff=shared)


def hunyuan_moe(t: Tiny, *, tied: bool = False, shared: int = 256) -> None:
    """Hunyuan A13B; shared: hidden entries of the shared expert, as many as the others have if it is 0."""
    s = t.shape
    transformer_keys(t, rope_base=10000.0)
    t.kv("expert_feed_forward_length", s.n_ff)
    if shared:
        t.kv("expert_shared_feed_forward_length", shared)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        expert_mlps(t, block, experts=4, used=2)
        gated_mlp(t, block, kind="_shexp", n_ff=shared or s.n_ff)


def llama4(t: Tiny, *, experts: int = 4, used: int = 2, step: int = 2, n_ff_expert: int = 96) -> None:
    """Llama 4: every step-th layer has experts; 128 of them mean Maverick."""
    s = t.shape
    transformer_keys(t, rope_base=500000.0)
    t.kv("interleave_moe_layer_step", step)
    t.kv("expert_feed_forward_length", n_ff_expert)
    freqs(t)
    ends(t, tied=False)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if (i + 1) % step:
            gated_mlp(t, block)
            continue
        expert_mlps(t, block, experts=experts, used=used, n_ff=n_ff_expert)
        gated_mlp(t, block, kind="_shexp", n_ff=n_ff_expert)


def deepseek(t: Tiny, **experts: Any) -> None:
    """DeepSeek MoE, whose files do not say how experts are weighed; DeepSeek-OCR is DeepSeek 2's experts behind plain
    attention."""
    s = t.shape
    transformer_keys(t)
    if t.arch == "deepseek2-ocr":
        t.kv("rope.freq_base", None)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
    mixture(t, **experts)
    if t.arch != "deepseek2-ocr":
        t.kv("expert_gating_func", None)


def exaone_moe(t: Tiny, *, window: int = 12, **experts: Any) -> None:
    """K-EXAONE; the bias of the choice must not be left to chance where sigmoids lie close."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    t.kv("attention.sliding_window", window)
    freqs(t)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
    mixture(t, **experts)
    t.kv("expert_shared_feed_forward_length", experts["shared"] * 96)


def afmoe(t: Tiny, *, window: int = 12, tied: bool = False, **experts: Any) -> None:
    """Trinity. Embeddings are small because the model multiplies them by sqrt(n_embd)."""
    s = t.shape
    transformer_keys(t)
    t.kv("attention.sliding_window", window)
    ends(t, tied=tied, size=1.0 / s.n_embd**0.5)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.matrix(f"{block}.attn_gate", s.n_q, s.n_embd)
        head_norms(t, block)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        t.norm(f"{block}.post_ffw_norm", s.n_embd)
    mixture(t, **experts)


def minicpm3(t: Tiny, *, longrope: bool = True, n_rot: int = 32) -> None:
    """MiniCPM 3: DeepSeek 2's attention in its older form, and multipliers that the file does not give."""
    latent(t, n_rot=n_rot, q_rank=96, size=0.1)
    t.kv("rope.scaling.original_context_length", 256)
    if longrope:
        t.kv("rope.scaling.attn_factor", 1.19)
        t.factors("rope_factors_long", n_rot // 2, 1.0, 32.0)
        t.factors("rope_factors_short", n_rot // 2, 1.0, 3.0)
    for block in blocks(t):
        gated_mlp(t, block)
    t.kv("attention.q_lora_rank", 96)


def plm(t: Tiny) -> None:
    """PLM."""
    s = t.shape
    latent(t, tied=True)
    for block in blocks(t):
        t.matrix(f"{block}.ffn_up", s.n_ff, s.n_embd)
        t.matrix(f"{block}.ffn_down", s.n_embd, s.n_ff)


def latent(
    t: Tiny, *, n_rot: int = 32, q_rank: int = 0, kv_rank: int = 128, tied: bool = False, size: float = 1.0
) -> None:
    """Keys, values and perhaps queries from small vectors, in dense models; q_rank 0: queries from the state."""
    s = t.shape
    transformer_keys(t)
    t.kv("rope.dimension_count", n_rot)
    t.kv("attention.kv_lora_rank", kv_rank)
    t.kv("attention.value_length", 48)
    ends(t, tied=tied, size=size)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        latent_attention(t, block, n_rot=n_rot, q_rank=q_rank, kv_rank=kv_rank, value_dim=48, split=False)
        t.norm(f"{block}.ffn_norm", s.n_embd)
