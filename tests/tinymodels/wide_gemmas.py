"""Gemma 3n and Gemma 4.

Names and required keys are those of llama.cpp's src/models/gemma3n.cpp and gemma4.cpp. Scores are not scaled, so the
norms of queries and keys are small.
"""

from __future__ import annotations

import numpy as np

from tinymodels.builder import QK, Tiny, blocks, ends, expert_mlps, gated_mlp, transformer_keys
from tinymodels.tokenizer import VOCAB_SIZE

#: What llama.cpp fixes for Gemma 3n: the planes of the stream, the rank of the learned residuals, the layers with keys
#: and values of their own, the width of a layer's input.
PLANES = 4
RANK = 64
OWN = 20
INPUT = 256


def layer_inputs(t: Tiny, n: int, high: float = 2.0) -> None:
    """The inputs of all layers, n entries each, and what they add."""
    s = t.shape
    t.kv("embedding_length_per_layer_input", n)
    t.matrix("per_layer_token_embd", VOCAB_SIZE, n * s.n_layer, np.sqrt(s.n_layer))  # of size 1 with the factor sqrt(n)
    t.matrix("per_layer_model_proj", n * s.n_layer, s.n_embd)
    t.norm("per_layer_proj_norm", n)
    for block in blocks(t):
        t.matrix(f"{block}.inp_gate", n, s.n_embd)
        t.matrix(f"{block}.proj", s.n_embd, n, 1.5)
        t.factors(f"{block}.post_norm", s.n_embd, 0.15 * high, high)


def gemma3n(
    t: Tiny, *, window: int = 12, rope_scale: float = 4.0, swa_base: float | None = 300.0, listed: bool = True
) -> None:
    """Gemma 3n; the layers without keys and values have tensors for them, which are not used.

    listed: the last layer is global and the file lists the local ones; otherwise every fifth is global.
    """
    s = t.shape
    transformer_keys(t, rope_base=1e6, eps=1e-6)
    t.kv("attention.sliding_window", window)
    t.kv("attention.shared_kv_layers", s.n_layer - OWN)
    t.kv("activation_sparsity_scale", [1.6448533535003662 if i < 10 else -np.inf for i in range(s.n_layer)])
    t.kv("altup.active_idx", 0)
    t.kv("altup.num_inputs", PLANES)
    t.kv("final_logit_softcapping", 30.0)
    t.kv("rope.freq_base_swa", swa_base)
    t.kv("rope.scaling.type", "linear")
    t.kv("rope.scaling.factor", rope_scale)
    if listed:
        t.kv("attention.sliding_window_pattern", [i % 5 < 4 and i < s.n_layer - 1 for i in range(s.n_layer)])
    ends(t, tied=True, size=1.5 / s.n_embd**0.5)
    layer_inputs(t, INPUT, 0.6)
    t.stack("altup_proj", PLANES - 1, s.n_embd, s.n_embd)
    t.stack("altup_unembd_proj", PLANES - 1, s.n_embd, s.n_embd)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        t.matrix(f"{block}.attn_q", s.n_q, s.n_embd, QK)
        t.matrix(f"{block}.attn_k", s.n_kv, s.n_embd, QK)
        t.matrix(f"{block}.attn_v", s.n_kv, s.n_embd)
        for name in ("attn_q_norm", "attn_k_norm"):
            t.factors(f"{block}.{name}", s.head_dim, 0.15, 0.75)
        t.matrix(f"{block}.attn_output", s.n_embd, s.n_q)
        for name in ("post_attention_norm", "laurel_post_norm", "post_ffw_norm"):
            t.factors(f"{block}.{name}", s.n_embd, 0.1, 0.6)
        t.matrix(f"{block}.laurel_l", RANK, s.n_embd)
        t.matrix(f"{block}.laurel_r", s.n_embd, RANK)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)
        t.norm(f"{block}.altup_router_norm", s.n_embd)
        t.matrix(f"{block}.altup_router", PLANES, s.n_embd, s.n_embd)  # its input is divided by n_embd
        t.matrix(f"{block}.altup_predict_coef", PLANES * PLANES, PLANES, 0.1)
        t.matrix(f"{block}.altup_correct_coef", PLANES, PLANES, 0.5)
        t.factors(f"{block}.altup_correct_scale", s.n_embd, 0.3, 2.0)


def gemma4(
    t: Tiny,
    *,
    window: int = 12,
    experts: int = 0,
    fused: bool = False,
    values: bool = True,
    swa_base: float | None = 300.0,
    n_input: int = 0,
    shared: int = 0,
    left: bool = False,
    double: bool = False,
) -> None:
    """Gemma 4: every third layer is global, with larger heads, fewer of them for keys, and (`values` False) its keys
    for values.

    n_input: entries of every layer's input; shared: layers, the last ones, without keys and values of their own. left:
    they have tensors for them all the same, which are not used. double: their MLPs are twice as wide.
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
    t.kv("attention.shared_kv_layers", shared)
    n_ff = [2 * s.n_ff if double and i >= s.n_layer - shared else s.n_ff for i in range(s.n_layer)]
    if double:
        t.kv("feed_forward_length", n_ff)
    t.kv("final_logit_softcapping", 3.0)
    t.factors("rope_freqs", wide // 2, 1.0, 8.0)
    ends(t, tied=True, size=1.5 / s.n_embd**0.5)
    if experts:
        t.kv("expert_feed_forward_length", 96)
    if n_input:
        layer_inputs(t, n_input)
    for i, (block, is_local, n_kv) in enumerate(zip(blocks(t), pattern, n_head_kv, strict=True)):
        head = local if is_local else wide
        t.norm(f"{block}.attn_norm", s.n_embd)
        t.matrix(f"{block}.attn_q", s.n_head * head, s.n_embd, QK)
        t.factors(f"{block}.attn_q_norm", head, 0.1, 0.6)
        if i < s.n_layer - shared or left:
            t.matrix(f"{block}.attn_k", n_kv * head, s.n_embd, QK)
            t.factors(f"{block}.attn_k_norm", head, 0.1, 0.6)
            if values or is_local:
                t.matrix(f"{block}.attn_v", n_kv * head, s.n_embd)
        t.matrix(f"{block}.attn_output", s.n_embd, s.n_head * head)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block, n_ff=n_ff[i])
        t.norm(f"{block}.post_ffw_norm", s.n_embd)
        if block != blocks(t)[-1]:  # the output norm would undo it
            t.factors(f"{block}.layer_output_scale", 1, 0.3, 0.8)
        if experts:
            expert_mlps(t, block, experts=experts, used=2, n_ff=96, fused=fused)
            t.uniform(f"{block}.ffn_gate_inp.scale", (s.n_embd,), 8.0, 24.0)  # divided by sqrt(n_embd)
            t.uniform(f"{block}.ffn_down_exps.scale", (experts,), 0.4, 2.0)
            for name in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
                t.norm(f"{block}.{name}", s.n_embd)
