"""Further families of plain decoders: one function each, which gives a model its keys and tensors.

Names and required keys are those of llama.cpp's src/models/<arch>.cpp and llama-arch.cpp. The keyword arguments are the
variants that real files of the family come in.
"""

from __future__ import annotations

from tinymodels.builder import QK, Tiny, attention, blocks, ends, expert_mlps, gated_mlp, transformer_keys


def freqs(t: Tiny) -> None:
    """Llama 3's factors."""
    t.factors("rope_freqs", t.shape.head_dim // 2, 1.0, 8.0)


def head_norms(t: Tiny, block: str) -> None:
    """Norms of queries and keys, the same for every head."""
    t.norm(f"{block}.attn_q_norm", t.shape.head_dim)
    t.norm(f"{block}.attn_k_norm", t.shape.head_dim)


def plain_mlp(t: Tiny, block: str) -> None:
    """Up and down projections without a gate."""
    s = t.shape
    t.matrix(f"{block}.ffn_up", s.n_ff, s.n_embd)
    t.matrix(f"{block}.ffn_down", s.n_embd, s.n_ff)


def exaone(t: Tiny, *, tied: bool = False, rope_freqs: bool = True) -> None:
    """EXAONE 3."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    if rope_freqs:
        freqs(t)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def exaone4(t: Tiny, *, tied: bool = False, window: int = 0) -> None:
    """EXAONE 4: norms after attention and MLP; the 32B has windows."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    if window:
        t.kv("attention.sliding_window", window)
    freqs(t)
    ends(t, tied=tied)
    for block in blocks(t):
        attention(t, block)
        head_norms(t, block)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        gated_mlp(t, block)
        t.norm(f"{block}.post_ffw_norm", s.n_embd)


def seed_oss(t: Tiny, *, tied: bool = False) -> None:
    """Seed-OSS."""
    s = t.shape
    transformer_keys(t, rope_base=1e6, eps=1e-6)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=True)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        gated_mlp(t, block)


def ernie4_5(t: Tiny, *, tied: bool = False, bias: bool = False) -> None:
    """ERNIE 4.5; what is added to the attention's output is read and not used, so no file here has it."""
    s = t.shape
    transformer_keys(t, rope_base=500000.0)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=bias)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def hunyuan_dense(t: Tiny, *, tied: bool = False, alpha: float = 1000.0) -> None:
    """Hunyuan 0.5B to 7B; alpha: how much the base of RoPE grows."""
    s = t.shape
    transformer_keys(t)
    if alpha:
        t.kv("rope.scaling.alpha", alpha)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def arcee(t: Tiny, *, tied: bool = False, rope_freqs: bool = False) -> None:
    """Arcee's AFM, whose YaRN real files have."""
    s = t.shape
    transformer_keys(t)
    if rope_freqs:
        freqs(t)
    else:
        t.kv("rope.scaling.type", "yarn")
        t.kv("rope.scaling.factor", 20.0)
        t.kv("rope.scaling.original_context_length", 256)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        plain_mlp(t, block)


def apertus(t: Tiny, *, bias: bool = False, longrope: bool = False) -> None:
    """Apertus; the numbers of xIELU are far from those of real files, so that each of them shows."""
    s = t.shape
    transformer_keys(t, rope_base=12e6)
    t.raw("xielu.alpha_n", [0.8 + 0.3 * i for i in range(s.n_layer)])
    t.raw("xielu.alpha_p", [0.5 - 0.4 * i for i in range(s.n_layer)])
    t.raw("xielu.beta", [0.5 - 0.2 * i for i in range(s.n_layer)])
    t.raw("xielu.eps", [-0.02] * s.n_layer)
    if longrope:
        t.kv("rope.scaling.type", "longrope")
        t.kv("rope.scaling.original_context_length", 256)
        t.factors("rope_factors_long", s.head_dim // 2, 1.0, 32.0)
        t.factors("rope_factors_short", s.head_dim // 2, 1.0, 3.0)
    else:
        freqs(t)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=bias, output_bias=bias)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        plain_mlp(t, block)


def gemma4(
    t: Tiny,
    *,
    window: int = 12,
    experts: int = 0,
    fused: bool = False,
    values: bool = True,
    swa_base: float | None = 300.0,
) -> None:
    """Gemma 4 without inputs per layer: every third layer is global, with larger heads, fewer of them for keys, and
    (`values` False) its keys for values. Scores are not scaled, so the norms of queries and keys are small.
    """
    s = t.shape
    transformer_keys(t, rope_base=1e6, eps=1e-6)
    local, wide = s.head_dim, 2 * s.head_dim
    pattern = [i % 3 != 1 for i in range(s.n_layer)]
    n_head_kv = [s.n_head_kv if is_local else 1 for is_local in pattern]
    t.kv("attention.head_count_kv", n_head_kv)
    t.kv("attention.key_length", wide)
    t.kv("attention.value_length", wide)
    t.kv("attention.key_length_swa", local)
    t.kv("attention.value_length_swa", local)
    t.kv("rope.dimension_count", wide)
    t.kv("rope.dimension_count_swa", local)
    t.kv("rope.freq_base_swa", swa_base)
    t.kv("attention.sliding_window", window)
    t.kv("attention.sliding_window_pattern", pattern)
    t.kv("embedding_length_per_layer_input", 0)
    t.kv("attention.shared_kv_layers", 0)
    t.kv("final_logit_softcapping", 3.0)
    t.factors("rope_freqs", wide // 2, 1.0, 8.0)
    ends(t, tied=True, size=1.5 / s.n_embd**0.5)
    if experts:
        t.kv("expert_feed_forward_length", 96)
    for block, is_local, n_kv in zip(blocks(t), pattern, n_head_kv, strict=True):
        head = local if is_local else wide
        t.norm(f"{block}.attn_norm", s.n_embd)
        t.matrix(f"{block}.attn_q", s.n_head * head, s.n_embd, QK)
        t.matrix(f"{block}.attn_k", n_kv * head, s.n_embd, QK)
        if values or is_local:
            t.matrix(f"{block}.attn_v", n_kv * head, s.n_embd)
        for name in ("attn_q_norm", "attn_k_norm"):
            t.factors(f"{block}.{name}", head, 0.1, 0.6)
        t.matrix(f"{block}.attn_output", s.n_embd, s.n_head * head)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)
        t.norm(f"{block}.post_ffw_norm", s.n_embd)
        if block != blocks(t)[-1]:  # the output norm would undo it
            t.factors(f"{block}.layer_output_scale", 1, 0.3, 0.8)
        if experts:
            expert_mlps(t, block, experts=experts, used=2, n_ff=96, fused=fused)
            t.uniform(f"{block}.ffn_gate_inp.scale", (s.n_embd,), 8.0, 24.0)  # divided by sqrt(n_embd)
            t.uniform(f"{block}.ffn_down_exps.scale", (experts,), 0.4, 2.0)
            for name in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
                t.norm(f"{block}.{name}", s.n_embd)
