"""Families that are mixtures of experts: one function each, which gives a model its keys and tensors."""

from __future__ import annotations

from tinymodels.builder import Tiny, attention, blocks, ends, expert_mlps, gated_mlp, transformer_keys


def qwen2moe(t: Tiny, *, n_ff_expert: int = 256, n_ff_shared: int = 256) -> None:
    """Qwen 1.5 and 2 with experts: a shared expert behind a gate; a size of 0 leaves its key out."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    ends(t, tied=False)
    if n_ff_expert:
        t.kv("expert_feed_forward_length", n_ff_expert)
    if n_ff_shared:
        t.kv("expert_shared_feed_forward_length", n_ff_shared)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=True)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        expert_mlps(t, block, experts=4, used=2, n_ff=n_ff_expert or s.n_ff // 2)
        gated_mlp(t, block, kind="_shexp", n_ff=n_ff_shared or s.n_ff)
        t.gate(f"{block}.ffn_gate_inp_shexp", s.n_embd)


def qwen3moe(t: Tiny, *, tied: bool = False, n_ff_expert: int = 256) -> None:
    """Qwen 3 with experts: q/k norms over each head."""
    s = t.shape
    transformer_keys(t, rope_base=1e6, eps=1e-6)
    ends(t, tied=tied)
    if n_ff_expert:
        t.kv("expert_feed_forward_length", n_ff_expert)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.attn_q_norm", s.head_dim)
        t.norm(f"{block}.attn_k_norm", s.head_dim)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        expert_mlps(t, block, experts=8, used=3, n_ff=n_ff_expert or s.n_ff // 3)


def olmoe(t: Tiny) -> None:
    """OLMoE: q/k norms over all heads at once, experts' weights as the softmax gives them."""
    s = t.shape
    transformer_keys(t)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.attn_q_norm", s.n_q)
        t.norm(f"{block}.attn_k_norm", s.n_kv)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        expert_mlps(t, block, experts=8, used=3, n_ff=s.n_ff)


def gpt_oss(t: Tiny, *, window: int = 12, yarn: bool = True) -> None:
    """gpt-oss: sinks, every second layer local, biases everywhere, clamped experts (what they clamp must be large)."""
    s = t.shape
    transformer_keys(t, rope_base=150000.0)
    t.kv("attention.sliding_window", window)
    t.kv("expert_feed_forward_length", s.n_ff)
    if yarn:
        t.kv("rope.scaling.type", "yarn")
        t.kv("rope.scaling.factor", 32.0)
        t.kv("rope.scaling.original_context_length", 64)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=True, output_bias=True)
        t.factors(f"{block}.attn_sinks", s.n_head, 2.0, 4.0)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        expert_mlps(t, block, experts=4, used=2, bias=True, hidden=4.0)


def grovemoe(t: Tiny, *, n_ff_common: int = 256) -> None:
    """GroveMoE: pairs of experts have a small one in common, which reads what the routed ones give."""
    s = t.shape
    qwen3moe(t)
    t.kv("experts_per_group", 2)
    t.kv("expert_group_scale", 0.6)
    if n_ff_common:
        t.kv("expert_chunk_feed_forward_length", n_ff_common)
    n_ff = n_ff_common or s.head_dim
    for block in blocks(t):
        t.stack(f"{block}.ffn_gate_chexps", 4, n_ff, s.n_embd)
        t.stack(f"{block}.ffn_up_chexps", 4, n_ff, s.n_embd)
        t.stack(f"{block}.ffn_down_chexps", 4, s.n_embd, n_ff, 1.5)
