"""Families of plain decoders: one function each, which gives a model its keys and tensors.

Names and required keys are those of llama.cpp's src/models/<arch>.cpp and llama-arch.cpp. The keyword arguments are the
variants that real files of the family come in.
"""

from __future__ import annotations

from tinymodels.builder import Tiny, attention, blocks, ends, expert_mlps, gated_mlp, transformer_keys
from tinymodels.tokenizer import VOCAB_SIZE


def llama(
    t: Tiny,
    *,
    tied: bool = False,
    rope_freqs: bool = False,
    longrope: bool = False,
    attention_bias: bool = False,
    mlp_bias: bool = False,
    rope_scale: float = 1.0,
    experts: int = 0,
) -> None:
    """Llama 1-3, Mistral, SmolLM; `rope_freqs` is Llama 3's scaling of frequencies, `rope_scale` the linear one.

    With `experts` (two used per token) it is Mixtral, which GGUF counts to the same family. `longrope`: short factors
    up to an original context of 256 tokens, long ones in larger contexts.
    """
    s = t.shape
    transformer_keys(t)
    if rope_scale != 1.0:
        t.kv("rope.scaling.type", "linear")
        t.kv("rope.scaling.factor", rope_scale)
    if rope_freqs:
        t.factors("rope_freqs", s.head_dim // 2, 1.0, 8.0)
    if longrope:
        t.kv("rope.scaling.type", "longrope")
        t.kv("rope.scaling.original_context_length", 256)
        t.factors("rope_factors_long", s.head_dim // 2, 1.0, 32.0)
        t.factors("rope_factors_short", s.head_dim // 2, 1.0, 3.0)
    ends(t, tied=tied)
    llama_blocks(t, attention_bias, mlp_bias, experts)


def mistral3(
    t: Tiny,
    *,
    tied: bool = False,
    yarn: bool = True,
    temperature: float = 0.1,
    log_mul: float = 1.0,
    attention_bias: bool = False,
    mlp_bias: bool = False,
    experts: int = 0,
) -> None:
    """Ministral 3: llama with YaRN and a temperature that grows with the position.

    The original context is 16 tokens so that a prompt of 40 passes two steps of the temperature.
    """
    transformer_keys(t, rope_base=1e6)
    t.kv("rope.scaling.original_context_length", 16)
    if yarn:
        t.kv("rope.scaling.type", "yarn")
        t.kv("rope.scaling.factor", 16.0)
        t.kv("rope.scaling.yarn_beta_fast", 32.0)
        t.kv("rope.scaling.yarn_beta_slow", 1.0)
        t.kv("rope.scaling.yarn_log_multiplier", log_mul)
    if temperature:
        t.kv("attention.temperature_scale", temperature)
    ends(t, tied=tied)
    llama_blocks(t, attention_bias, mlp_bias, experts)


def llama_blocks(t: Tiny, attention_bias: bool, mlp_bias: bool, experts: int) -> None:
    """The layers of llama and of what is built like it."""
    s = t.shape
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=attention_bias, output_bias=attention_bias)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if experts:
            expert_mlps(t, block, experts=experts, used=2)
        else:
            gated_mlp(t, block, bias=mlp_bias)


def gemma3(
    t: Tiny, *, window: int = 12, rope_scale: float = 8.0, softcap: float = 0.0, swa_base: float | None = None
) -> None:
    """Gemma 3: norms before and after each part, q/k norms, five local layers to one global layer.

    `rope_scale` and the base of a million are those of global layers; local layers have a base of 10000 (`swa_base`
    writes it down, older files leave it out). Embeddings are small because the model multiplies them by sqrt(n_embd).
    """
    s = t.shape
    transformer_keys(t, rope_base=1e6, eps=1e-6)
    t.kv("attention.sliding_window", window)
    if rope_scale != 1.0:
        t.kv("rope.scaling.type", "linear")
        t.kv("rope.scaling.factor", rope_scale)
    if swa_base is not None:
        t.kv("rope.freq_base_swa", swa_base)
    if softcap:
        t.kv("final_logit_softcapping", softcap)
    ends(t, tied=True, size=1.5 / s.n_embd**0.5)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.attn_q_norm", s.head_dim)
        t.norm(f"{block}.attn_k_norm", s.head_dim)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)
        t.norm(f"{block}.post_ffw_norm", s.n_embd)


def gemma(t: Tiny) -> None:
    """Gemma 1. Embeddings are small because the model multiplies them by sqrt(n_embd)."""
    s = t.shape
    transformer_keys(t, eps=1e-6)
    ends(t, tied=True, size=1.5 / s.n_embd**0.5)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def gemma2(t: Tiny, *, window: int = 12, attention_cap: float = 2.0, final_cap: float = 3.0) -> None:
    """Gemma 2: norms before and after each part, soft caps, every second layer local."""
    s = t.shape
    transformer_keys(t, eps=1e-6)
    t.kv("attention.sliding_window", window)
    t.kv("attn_logit_softcapping", attention_cap)
    t.kv("final_logit_softcapping", final_cap)
    ends(t, tied=True, size=1.5 / s.n_embd**0.5)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)
        t.norm(f"{block}.post_ffw_norm", s.n_embd)


def qwen2(t: Tiny, *, tied: bool = False, output_bias: bool = False, fused: bool = False) -> None:
    """Qwen 2 and 2.5: llama with biases on q, k and v and half-split RoPE."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    ends(t, tied=tied)
    if output_bias:
        t.bias("output", VOCAB_SIZE)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=True, fused=fused)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def qwen3(t: Tiny, *, tied: bool = False) -> None:
    """Qwen 3: q/k norms over each head."""
    s = t.shape
    transformer_keys(t, rope_base=1e6, eps=1e-6)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.attn_q_norm", s.head_dim)
        t.norm(f"{block}.attn_k_norm", s.head_dim)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def phi3(
    t: Tiny, *, tied: bool = False, n_rot: int = 48, longrope: bool = True, attn_factor: float = 1.19, window: int = 16
) -> None:
    """Phi 3, 3.5 and 4 mini: q, k, v in one matrix, gate and up in one, RoPE on a part of each head, LongRoPE.

    llama.cpp takes the short factors up to the original context of 256 tokens and the long ones when its context is
    larger. `window` is in real files too; llama.cpp reads it and attends to everything all the same.
    """
    s = t.shape
    transformer_keys(t)
    t.kv("rope.dimension_count", n_rot)
    t.kv("rope.scaling.original_context_length", 256)
    t.kv("attention.sliding_window", window)
    if longrope:
        t.kv("rope.scaling.attn_factor", attn_factor)
        t.factors("rope_factors_long", n_rot // 2, 1.0, 32.0)
        t.factors("rope_factors_short", n_rot // 2, 1.0, 3.0)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, fused=True)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        t.matrix(f"{block}.ffn_up", 2 * s.n_ff, s.n_embd)
        t.matrix(f"{block}.ffn_down", s.n_embd, s.n_ff, 1.5)


def olmo2(t: Tiny, *, window: int = 0, yarn: bool = False) -> None:
    """OLMo 2: norms only after attention and MLP, q/k norms over all heads at once.

    With `window` it is OLMo 3: three local layers to one global, and `yarn` on the global ones.
    """
    s = t.shape
    transformer_keys(t, rope_base=5e5, eps=1e-6)
    if window:
        t.kv("attention.sliding_window", window)
    if yarn:
        t.kv("rope.scaling.type", "yarn")
        t.kv("rope.scaling.factor", 8.0)
        t.kv("rope.scaling.original_context_length", 64)
    ends(t, tied=False)
    for block in blocks(t):
        attention(t, block)
        t.norm(f"{block}.attn_q_norm", s.n_q)
        t.norm(f"{block}.attn_k_norm", s.n_kv)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        gated_mlp(t, block)
        t.norm(f"{block}.post_ffw_norm", s.n_embd)


def smollm3(t: Tiny, *, tied: bool = False) -> None:
    """SmolLM 3: llama without positions in every fourth layer."""
    s = t.shape
    transformer_keys(t, rope_base=5e6)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def granite_keys(t: Tiny, finetuned: bool | None) -> None:
    """Granite's multipliers; finetuned: the key of that name, false in models without positions."""
    t.kv("embedding_scale", 6.0)
    t.kv("residual_scale", 0.6)
    t.kv("attention.scale", 0.25)
    t.kv("logit_scale", 3.0)
    t.kv("rope.scaling.finetuned", finetuned)


def granite(
    t: Tiny,
    *,
    tied: bool = False,
    attention_bias: bool = False,
    mlp_bias: bool = False,
    experts: int = 0,
    shared: int = 0,
    finetuned: bool | None = None,
) -> None:
    """Granite 3: llama with four multipliers; with `experts` perhaps a `shared` expert of that size.

    finetuned: the key of that name, false in models without positions.
    """
    s = t.shape
    transformer_keys(t, rope_base=5e6)
    granite_keys(t, finetuned)
    ends(t, tied=tied, size=0.2)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=attention_bias, output_bias=attention_bias)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if experts:
            expert_mlps(t, block, experts=experts, used=2)
        else:
            gated_mlp(t, block, bias=mlp_bias)
        if shared:
            t.kv("expert_shared_feed_forward_length", shared)
            gated_mlp(t, block, kind="_shexp", n_ff=shared)
