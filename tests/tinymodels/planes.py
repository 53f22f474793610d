"""Decoders with several planes of the stream, or with states that are kept: one function each.

Names and required keys are those of llama.cpp's src/models/<arch>.cpp and llama-arch.cpp. The keyword arguments are the
variants that real files of the family come in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymodels.builder import QK, Tiny, blocks, ends, expert_mlps, gated_mlp, transformer_keys
from tinymodels.latent import delta_attention, indexer, indexer_keys, latent
from tinymodels.recurrent import attention_with_gates, delta_net, delta_net_keys, gated_experts
from tinymodels.shared_experts import mixture, predictor
from tinymodels.tokenizer import EOS, VOCAB_SIZE
from tinymodels.windowed import gate


def connection(t: Tiny, name: str, planes: int, uses: int) -> None:
    """What the weights of planes are made of, for so many uses; the third one are weights from each plane to each."""
    s, n = t.shape, (uses if uses < 3 else 2 + planes) * planes
    t.matrix(f"{name}_fn", n, planes * s.n_embd, 1.5)
    t.uniform(f"{name}_base.weight", (n,), -1.0, 1.0)
    t.uniform(f"{name}_scale.weight", (uses,), 0.5, 1.5)


def hy_v4(
    t: Tiny, *, planes: int = 2, q_rank: int = 96, types: list[bool] | None = None, limits: bool = True, **experts: Any
) -> None:
    """HY 4; types: which layers have an indexer of their own, None: it has none."""
    s = t.shape
    rank, n_rot, value = 128, 32, 48
    transformer_keys(t, rope_base=1e6)
    t.kv("rope.dimension_count", n_rot)
    t.kv("attention.head_count_kv", 1)
    t.kv("attention.q_lora_rank", q_rank)
    t.kv("attention.kv_lora_rank", rank)
    t.kv("attention.key_length", rank + n_rot)
    t.kv("attention.value_length", rank)
    t.kv("attention.key_length_mla", s.head_dim)
    t.kv("attention.value_length_mla", value)
    t.kv("hyper_connection.count", planes)
    t.kv("hyper_connection.epsilon", 0.1)
    t.kv("hyper_connection.magnitude", 1.5)
    if types is not None:
        indexer_keys(t, heads=8, n=64, top=24)
        t.kv("attention.indexer.types", types)
    if limits:
        t.kv("swiglu_clamp_exp", [0.4 + 0.1 * i for i in range(s.n_layer)])
    ends(t, tied=False)
    connection(t, "output_hc", planes, 1)
    for i, block in enumerate(blocks(t)):
        latent(t, block, rank=rank, n_rot=n_rot, key=s.head_dim, value=value)
        t.factors(f"{block}.attn_sinks", s.n_head, 1.0, 3.0)
        t.matrix(f"{block}.attn_q_a", q_rank, s.n_embd)
        t.norm(f"{block}.attn_q_a_norm", q_rank)
        t.matrix(f"{block}.attn_q_b", s.n_q, q_rank, QK)
        gate(t, block, s.n_head * value)
        if types is not None and types[i]:
            indexer(t, block, q_rank, heads=8, n=64)
        connection(t, f"{block}.hc_attn", planes, 2)
        connection(t, f"{block}.hc_ffn", planes, 2)
        t.norm(f"{block}.ffn_norm", s.n_embd)
    mixture(t, **experts)


def kimi_k3(
    t: Tiny,
    *,
    period: int = 2,
    bound: float | None = -2.0,
    q_rank: int = 96,
    gated: bool = True,
    m: int = 128,
    norm: bool = False,
    linear_beta: float = 1.5,
    shared: int = 1,
    **experts: Any,
) -> None:
    """Kimi K3: the second layer has latent attention.

    m: entries of the states that experts see, 0: all; norm: what experts give is normalised.
    """
    s = t.shape
    d, rank, n_rot, value, n_ff = 64, 128, 32, 48, 96
    transformer_keys(t)
    t.kv("rope.freq_base", None)
    t.kv("attention.head_count_kv", [int(i == 1) for i in range(s.n_layer)])
    t.kv("attention.kv_lora_rank", rank)
    t.kv("attention.key_length", rank + n_rot)
    t.kv("attention.value_length", rank)
    t.kv("attention.key_length_mla", s.head_dim)
    t.kv("attention.value_length_mla", value)
    t.kv("rope.dimension_count", n_rot)
    t.kv("ssm.conv_kernel", 4)
    t.kv("kda.head_dim", d)
    t.kv("kda.gate_lower_bound", bound)
    t.kv("attn_res.block_size", period)
    t.kv("activation.situ_beta", 1.2)
    t.kv("activation.situ_linear_beta", linear_beta)
    if q_rank:
        t.kv("attention.q_lora_rank", q_rank)
    if m:
        t.kv("expert_latent_length", m)
    ends(t, tied=False)
    if period:
        t.uniform("output_res_score.weight", (s.n_embd,), -0.3, 0.3)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if period:
            t.uniform(f"{block}.attn_res_score.weight", (s.n_embd,), -0.3, 0.3)
            t.uniform(f"{block}.ffn_res_score.weight", (s.n_embd,), -0.3, 0.3)
        if i == 1:
            latent(t, block, rank=rank, n_rot=n_rot, key=s.head_dim, value=value)
            if q_rank:
                t.matrix(f"{block}.attn_q_a", q_rank, s.n_embd)
                t.norm(f"{block}.attn_q_a_norm", q_rank)
            t.matrix(f"{block}.attn_q{'_b' if q_rank else ''}", s.n_q, q_rank or s.n_embd, QK)
            if gated:
                gate(t, block, s.n_head * value)
            continue
        t.norm(f"{block}.attn_norm", s.n_embd)
        delta(t, block, s.n_head * d, d)
    mixture(t, n_ff_expert=n_ff, shared=shared, narrow=m, **experts)
    for block in blocks(t)[1:] if m else ():
        t.matrix(f"{block}.ffn_routed_down", m, s.n_embd)
        if norm:
            t.norm(f"{block}.ffn_routed_norm", m)
        t.matrix(f"{block}.ffn_routed_up", s.n_embd, m)


def delta(t: Tiny, block: str, n: int, d: int) -> None:
    """Kimi delta attention as K3 has it, with heads of d entries, n in all."""
    s = t.shape
    for x in "qkv":
        t.uniform(f"{block}.ssm_conv1d_{x}.weight", (n, 1, 4), -1.0, 1.0)
        t.matrix(f"{block}.attn_{x}", n, s.n_embd, 1.5)
    t.matrix(f"{block}.ssm_f_a", d, s.n_embd)
    t.matrix(f"{block}.ssm_f_b", n, d)
    t.matrix(f"{block}.ssm_g", n, s.n_embd)
    t.bias(f"{block}.ssm_dt", n)
    t.uniform(f"{block}.ssm_a", (s.n_head,), -0.8, -0.1)
    t.matrix(f"{block}.ssm_beta", s.n_head, s.n_embd)
    t.norm(f"{block}.ssm_norm", d)
    t.matrix(f"{block}.attn_output", s.n_embd, n)


def glm5_next(
    t: Tiny,
    *,
    bound: float | None = -2.0,
    types: list[bool] | None = None,
    pool: int = 4,
    shared_limits: bool = True,
    **experts: Any,
) -> None:
    """GLM 5.3 Flash: the first layer has delta attention; types: the layers with an indexer, None: all others."""
    s = t.shape
    planes, d, rank, q_rank, value = 4, 64, 128, 96, 48
    transformer_keys(t)
    t.kv("rope.freq_base", None)
    t.kv("rope.dimension_count", 0)
    t.kv("attention.layer_norm_epsilon", 9.0)
    t.kv("attention.head_count_kv", [int(i > 0) for i in range(s.n_layer)])
    t.kv("attention.q_lora_rank", q_rank)
    t.kv("attention.kv_lora_rank", rank)
    t.kv("attention.key_length", rank)
    t.kv("attention.value_length", rank)
    t.kv("attention.key_length_mla", s.head_dim)
    t.kv("attention.value_length_mla", value)
    t.kv("ssm.conv_kernel", 4)
    t.kv("kda.head_dim", d)
    t.kv("kda.gate_lower_bound", bound)
    t.kv("hyper_connection.count", planes)
    t.kv("hyper_connection.epsilon", 0.1)
    t.kv("hyper_connection.sinkhorn_iterations", 3)
    indexer_keys(t, heads=8, n=64, top=24)
    t.kv("attention.indexer.kpool", pool)
    if types is not None:
        t.kv("attention.indexer.types", types)
    t.kv("swiglu_clamp_exp", [0.4 + 0.1 * i for i in range(s.n_layer)])
    if shared_limits:
        t.kv("swiglu_clamp_shexp", [0.5 + 0.1 * i for i in range(s.n_layer)])
    ends(t, tied=False)
    for i, block in enumerate(blocks(t)):
        connection(t, f"{block}.hc_attn", planes, 3)
        connection(t, f"{block}.hc_ffn", planes, 3)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if i == 0:
            t.norm(f"{block}.attn_norm", s.n_embd)
            delta_attention(t, block, s.n_head * d, d, flat=True)
            continue
        latent(t, block, rank=rank, n_rot=0, key=s.head_dim, value=value)
        t.matrix(f"{block}.attn_q_a", q_rank, s.n_embd)
        t.norm(f"{block}.attn_q_a_norm", q_rank)
        t.matrix(f"{block}.attn_q_b", s.n_q, q_rank, QK)
        if types is None or types[i]:
            indexer(t, block, q_rank, heads=8, n=64)
            t.matrix(f"{block}.indexer_compressor_gate", 64, s.n_embd, 1.5)
            t.uniform(f"{block}.indexer_compressor_ape.weight", (pool, 64), -1.5, 1.5)
    mixture(t, **experts)


def qwen4exp(
    t: Tiny,
    *,
    planes: int = 4,
    ngrams: int | None = 2,
    blocks_of: int = 4,
    tied: bool = False,
    tables: bool = False,
    heads: int = 4,
) -> None:
    """Qwen 3.8 Flash Next: the second layer has attention.

    ngrams: the layer that adds them, None: none. blocks_of: positions of a block, 0: all are read. tables: the weights
    of norms are tables. heads: of the indexer.
    """
    s, n = t.shape, 48
    transformer_keys(t, rope_base=1e5)
    t.kv("rope.dimension_count", 32)
    t.kv("rope.dimension_sections", [6, 5, 5, 0])
    t.kv("full_attention_interval", 2)
    t.kv("expert_feed_forward_length", 256)
    t.kv("expert_shared_feed_forward_length", 256)
    delta_net_keys(t)
    t.kv("hyper_connection.count", planes)
    t.kv("hyper_connection.low_rank", 32)
    indexer_keys(t, heads=heads, n=n, top=16)
    if blocks_of:
        t.kv("attention.compress_ratios", [blocks_of * (i % 2) for i in range(s.n_layer)])
    t.matrix("token_embd", VOCAB_SIZE, s.n_embd, (4.0 if tied else np.sqrt(s.n_embd)))
    if not tied:
        t.matrix("output", VOCAB_SIZE, s.n_embd, 2.0)
    gated_planes(t, "output_hc", planes, tables)
    for i, block in enumerate(blocks(t)):
        if i == ngrams:
            ngram_embeddings(t, block, i, planes, tables)
        for use in ("attn", "ffn"):
            gated_planes(t, f"{block}.hc_{use}", planes, tables)
            t.matrix(f"{block}.hc_{use}_inject", planes, planes * s.n_embd, 2.0 * planes)
        if i % 2:
            attention_with_gates(t, block)
            t.matrix(f"{block}.indexer.q_proj", heads * n, s.n_embd)
            t.matrix(f"{block}.indexer.k_proj", n, s.n_embd)
            t.norm(f"{block}.indexer.q_norm", n)
            t.norm(f"{block}.indexer.k_norm", n)
        else:
            delta_net(t, block)
        gated_experts(t, block, 4, shared=256)


def gated_planes(t: Tiny, name: str, planes: int, table: bool) -> None:
    """What the gates of planes are computed from."""
    n = planes * t.shape.n_embd
    norm_of_planes(t, f"{name}_norm", planes, table)
    t.matrix(f"{name}_down", 32, n, 1.5 * planes)
    t.matrix(f"{name}_up", n, 32, 3.0)


def norm_of_planes(t: Tiny, name: str, planes: int, table: bool) -> None:
    """A norm's weights for every plane, as a table or one after the other."""
    n = t.shape.n_embd
    t.uniform(f"{name}.weight", (planes, n) if table else (planes * n,), 0.3, 2.0)


def ngram_embeddings(t: Tiny, block: str, layer: int, planes: int, table: bool) -> None:
    """Four rows for every token: two for the 2-gram, two for the 3-gram that end there."""
    n, sizes = t.shape.n_embd, [37, 41, 43, 47]
    t.kv("ple.layers", [layer])
    t.kv("ple.ngram_size", 3)
    t.kv("ple.heads_per_ngram", 2)
    t.kv("ple.conv_kernel", 4)
    t.kv("ple.eos_token_id", EOS)
    t.kv("ple.image_token_id", 9)
    t.kv("ple.layer_multipliers", np.array([0x1F3A5C7E9B1D, 0x2545F4914F6D, 0x3C6EF372FE95], np.uint64))
    t.kv("ple.head_offsets", np.array([0, 37, 78, 121], np.uint64))
    t.kv("ple.head_vocab_sizes", np.array(sizes, np.uint64))
    t.kv("embedding_length_per_layer_input", n // 4)
    t.matrix("per_layer_token_embd", sum(sizes) + 8, n // 4, np.sqrt(n // 4))
    t.matrix(f"{block}.ple_key", planes * n, n)
    t.matrix(f"{block}.ple_value", n, n)
    for name in ("key", "query", "conv"):
        norm_of_planes(t, f"{block}.ple_norm_{name}", planes, table)
    t.matrix(f"{block}.ple_conv1d", planes * n, 4, 1.5)


def deepseek4(
    t: Tiny,
    *,
    ratios: tuple[int, ...] = (4, 0),
    hashed: int = 1,
    yarn: bool = True,
    shared_limits: bool = True,
    top: int = 3,
    experts: int = 8,
    used: int = 3,
    n_ff: int = 96,
    shared: int = 2,
    norm: bool = True,
    ahead: bool = False,
) -> None:
    """DeepSeek V4; ratios: how many positions a block of each layer has, 0: it has none; hashed: the layers, the first
    ones, whose experts the token chooses; ahead: with one layer more, which guesses the token after the next one."""
    planes, q_rank, n_rot, groups, rank = 4, 96, 32, 2, 64
    heads, n = 8, 128
    transformer_keys(t, rope_base=300.0)
    if ahead:
        predictor(t)
    s = t.shape
    t.kv("rope.dimension_count", n_rot)
    if yarn:
        t.kv("rope.scaling.type", "yarn")
        t.kv("rope.scaling.factor", 4.0)
        t.kv("rope.scaling.original_context_length", 64)
    t.kv("attention.head_count_kv", 1)
    t.kv("attention.q_lora_rank", q_rank)
    t.kv("attention.sliding_window", 7)
    t.kv("attention.output_group_count", groups)
    t.kv("attention.output_lora_rank", rank)
    t.kv("attention.compress_rope_freq_base", 900.0)
    t.kv("attention.compress_ratios", list(ratios))
    indexer_keys(t, heads=heads, n=n, top=top)
    t.kv("hyper_connection.count", planes)
    t.kv("hyper_connection.epsilon", 0.1)
    t.kv("hyper_connection.sinkhorn_iterations", 3)
    t.kv("hash_layer_count", hashed)
    t.kv("expert_feed_forward_length", n_ff)
    t.kv("expert_shared_count", shared)
    t.kv("expert_gating_func", 4)
    t.kv("expert_weights_scale", 2.5)
    t.kv("expert_weights_norm", norm)
    t.kv("swiglu_clamp_exp", [0.4 + 0.1 * i for i in range(s.n_layer)])
    if shared_limits:
        t.kv("swiglu_clamp_shexp", [0.5 + 0.1 * i for i in range(s.n_layer)])
    ends(t, tied=False)
    connection(t, "output_hc", planes, 1)
    for i, block in enumerate(blocks(t)):
        connection(t, f"{block}.hc_attn", planes, 3)
        connection(t, f"{block}.hc_ffn", planes, 3)
        t.norm(f"{block}.attn_norm", s.n_embd)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        t.factors(f"{block}.attn_sinks", s.n_head, 1.0, 3.0)
        t.matrix(f"{block}.attn_q_a", q_rank, s.n_embd)
        t.norm(f"{block}.attn_q_a_norm", q_rank)
        t.matrix(f"{block}.attn_q_b", s.n_q, q_rank, QK)
        t.matrix(f"{block}.attn_kv", s.head_dim, s.n_embd, QK)
        t.norm(f"{block}.attn_kv_a_norm", s.head_dim)
        t.matrix(f"{block}.attn_output_a", groups * rank, s.n_q // groups)
        t.matrix(f"{block}.attn_output_b", s.n_embd, groups * rank)
        if ratios[i]:
            compressor(t, f"{block}.attn_compressor", ratios[i], s.head_dim)
        if ratios[i] == 4:
            compressor(t, f"{block}.indexer_compressor", 4, n)
            t.matrix(f"{block}.indexer.attn_q_b", heads * n, q_rank, QK)
            t.matrix(f"{block}.indexer.proj", heads, s.n_embd)
        expert_mlps(t, block, experts=experts, used=used, n_ff=n_ff)
        gated_mlp(t, block, kind="_shexp", n_ff=shared * n_ff)
        if i < hashed:
            t.choices(f"{block}.ffn_gate_tid2eid.weight", VOCAB_SIZE, used, experts)
        else:
            t.bias(f"{block}.exp_probs_b", experts)


def compressor(t: Tiny, name: str, ratio: int, n: int) -> None:
    """What makes blocks of so many positions, vectors of n entries; blocks of 4 overlap."""
    width = n * (2 if ratio == 4 else 1)
    t.matrix(f"{name}_kv", width, t.shape.n_embd, QK)
    t.matrix(f"{name}_gate", width, t.shape.n_embd, 1.5)
    t.uniform(f"{name}_ape.weight", (ratio, width), -1.5, 1.5)
    t.norm(f"{name}_norm", n)
