"""Decoders with several planes of the stream, or with states that are kept: one function each.

Names and required keys are those of llama.cpp's src/models/<arch>.cpp and llama-arch.cpp. The keyword arguments are the
variants that real files of the family come in.
"""

from __future__ import annotations

from typing import Any

from tinymodels.builder import QK, Tiny, blocks, ends, transformer_keys
from tinymodels.latent import indexer, indexer_keys, latent
from tinymodels.shared_experts import mixture
from tinymodels.windowed import gate


def connection(t: Tiny, name: str, planes: int, uses: int) -> None:
    """What the weights of planes are made of, for so many uses."""
    s = t.shape
    t.matrix(f"{name}_fn", uses * planes, planes * s.n_embd, 1.5)
    t.uniform(f"{name}_base.weight", (uses * planes,), -1.0, 1.0)
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
