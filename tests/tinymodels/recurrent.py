"""Families with recurrent layers: one function each, which gives a model its keys and tensors.

Layers are recurrent but for the second one, so that both the first layer and the last one are.
"""

from __future__ import annotations

import numpy as np

from tinymodels.builder import QK, Tiny, attention, blocks, ends, expert_mlps, gated_mlp, transformer_keys

N_CONV = 4


def heads_of(t: Tiny) -> list[int]:
    """The key/value heads of every layer: none in recurrent ones."""
    return [t.shape.n_head_kv if i == 1 else 0 for i in range(t.shape.n_layer)]


def lfm2(t: Tiny, *, window: int = 0, experts: int = 0, gating: int = 2, lead: int = 1) -> None:
    """LFM2: gated short convolutions; with `experts`, all layers but the leading ones have them."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    t.kv("attention.head_count_kv", heads_of(t))
    t.kv("shortconv.l_cache", 3)
    if window:
        t.kv("attention.sliding_window", window)
    if experts:
        t.kv("expert_gating_func", gating)
        t.kv("leading_dense_block_count", lead)
        t.kv("expert_feed_forward_length", 256)
    ends(t, tied=True, output_norm="token_embd_norm")
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        if i == 1:
            attention(t, block)
            t.norm(f"{block}.attn_q_norm", s.head_dim)
            t.norm(f"{block}.attn_k_norm", s.head_dim)
        else:
            t.matrix(f"{block}.shortconv.in_proj", 3 * s.n_embd, s.n_embd)
            t.matrix(f"{block}.shortconv.conv", s.n_embd, 3)
            t.matrix(f"{block}.shortconv.out_proj", s.n_embd, s.n_embd)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if experts and i >= lead:
            expert_mlps(t, block, experts=experts, used=2, n_ff=256)
            t.bias(f"{block}.exp_probs_b", experts)
        else:
            gated_mlp(t, block)


def mamba2(t: Tiny, *, tied: bool = False) -> None:
    """Mamba 2: nothing but state spaces."""
    lone_keys(t)
    ssm_keys(t)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", t.shape.n_embd)
        mamba2_mixer(t, block)


def mamba(t: Tiny, *, tied: bool = False, normalised: bool | None = None) -> None:
    """Mamba 1; `normalised`: the key of Falcon Mamba, which normalises steps, keys and queries."""
    lone_keys(t)
    ssm_keys(t, heads=32, groups=None)
    if normalised is not None:
        t.kv("ssm.dt_b_c_rms", normalised)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", t.shape.n_embd)
        mamba_mixer(t, block)


def jamba(t: Tiny, *, experts: int = 0) -> None:
    """Jamba: Mamba 1 with three norms, attention without positions; with `experts` every layer but the first."""
    s = t.shape
    transformer_keys(t)
    t.kv("rope.dimension_count", None)
    t.kv("rope.freq_base", None)
    t.kv("attention.head_count_kv", heads_of(t))
    ssm_keys(t, heads=32, groups=None)
    ends(t, tied=False)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        if i == 1:
            attention(t, block)
        else:
            mamba_mixer(t, block)
            t.norm(f"{block}.ssm_dt_norm", 32)
            t.norm(f"{block}.ssm_b_norm", 16)
            t.norm(f"{block}.ssm_c_norm", 16)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if experts and i:
            expert_mlps(t, block, experts=experts, used=2)
        else:
            gated_mlp(t, block)


def granitehybrid(
    t: Tiny,
    *,
    experts: int = 0,
    shared: int = 0,
    finetuned: bool | None = None,
    bias: bool = False,
    tied: bool = True,
    size: float = 0.2,
) -> None:
    """Granite 4 H: Mamba 2 with Granite's multipliers; positions only where `finetuned` is not false."""
    s = t.shape
    transformer_keys(t)
    t.kv("attention.head_count_kv", heads_of(t))
    t.kv("embedding_scale", 6.0)
    t.kv("residual_scale", 0.6)
    t.kv("attention.scale", 0.25)
    t.kv("logit_scale", 3.0)
    if finetuned is not None:
        t.kv("rope.scaling.finetuned", finetuned)
    ssm_keys(t)
    ends(t, tied=tied, size=size)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        if i == 1:
            attention(t, block, bias=bias, output_bias=bias)
        else:
            mamba2_mixer(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        if experts:
            expert_mlps(t, block, experts=experts, used=2)
        else:
            gated_mlp(t, block, bias=bias)
        if shared:
            t.kv("expert_shared_feed_forward_length", shared)
            gated_mlp(t, block, kind="_shexp", n_ff=shared)


def falcon_h1(t: Tiny, *, norm: bool = False, bias: bool = False, tied: bool = False) -> None:
    """Falcon H1: attention beside Mamba 2 in every layer, whose gated norm only some files have."""
    s = t.shape
    transformer_keys(t)
    ssm_keys(t)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=bias)
        mamba2_mixer(t, block, norm=norm, size=1.0 if norm else 0.2)
        t.uniform(f"{block}.ffn_norm", (s.n_embd,), 0.3, 2.0)
        gated_mlp(t, block, bias=bias)


def nemotron_h(
    t: Tiny,
    *,
    bias: bool = False,
    eps: float | None = 1e-5,
    plain_eps: float = 0.3,
    experts: int = 0,
    sizes: bool = True,
) -> None:
    """Nemotron H: Mamba 2, attention, an MLP with a squared ReLU, and Mamba 2 again.

    experts: the MLP is a mixture, and with `sizes` the file says how large its experts are.
    """
    s = t.shape
    transformer_keys(t)
    for key in ("rope.dimension_count", "rope.freq_base"):
        t.kv(key, None)
    t.kv("attention.layer_norm_epsilon", plain_eps)
    t.kv("attention.layer_norm_rms_epsilon", eps)
    t.kv("attention.head_count_kv", heads_of(t))
    t.kv("feed_forward_length", [s.n_ff if i == 2 else 0 for i in range(s.n_layer)])
    ssm_keys(t)
    ends(t, tied=False)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        if i == 1:
            attention(t, block, output_bias=bias)
            if bias:  # one of the keys would do nothing where there are no positions
                t.bias(f"{block}.attn_q", s.n_q)
                t.bias(f"{block}.attn_v", s.n_kv)
        elif i == 2 and experts:
            plain_experts(t, block, experts, sizes)
        elif i == 2:
            t.matrix(f"{block}.ffn_up", s.n_ff, s.n_embd)
            t.matrix(f"{block}.ffn_down", s.n_embd, s.n_ff)
            if bias:
                t.bias(f"{block}.ffn_up", s.n_ff)
                t.bias(f"{block}.ffn_down", s.n_embd)
        else:
            mamba2_mixer(t, block)


def qwen3next(
    t: Tiny,
    *,
    interval: int | None = 2,
    recurrent: bool = False,
    tied: bool = False,
    experts: int = 4,
    sizes: bool = True,
    early: bool = False,
) -> None:
    """Qwen3-Next: gated delta nets, attention with gates in every `interval`-th layer.

    recurrent: the layers are named one by one. sizes: the experts' sizes are given. Of Qwen3.5 decays and update
    strengths have matrices of their own, and there are models without experts. early: q, k, v and z in one matrix.
    """
    s, newer = t.shape, t.arch != "qwen3next"
    transformer_keys(t, rope_base=1e5)
    t.kv("rope.dimension_count", 32)
    if newer:
        t.kv("rope.dimension_sections", [6, 5, 5, 0])
    if recurrent:
        t.kv("attention.recurrent_layers", [i != 0 for i in range(s.n_layer)])
    elif interval is not None:
        t.kv("full_attention_interval", interval)
    if experts and sizes:
        t.kv("expert_feed_forward_length", 256)
        t.kv("expert_shared_feed_forward_length", 256)
    delta_net_keys(t)
    ends(t, tied=tied)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        if i == 0 if recurrent else (i + 1) % (interval or 4) == 0:
            attention_with_gates(t, block)
        else:
            delta_net(t, block, newer=newer, early=early)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        if experts:
            gated_experts(t, block, experts, shared=256 if sizes else s.n_ff)
        else:
            gated_mlp(t, block)


#: The heads of a delta net: of values, and of keys, with so many entries.
HEADS, KEY_HEADS, D_HEAD = 8, 2, 32


def delta_net_keys(t: Tiny) -> None:
    """The keys of gated delta nets."""
    t.kv("ssm.conv_kernel", N_CONV)
    t.kv("ssm.inner_size", HEADS * D_HEAD)
    t.kv("ssm.state_size", D_HEAD)
    t.kv("ssm.time_step_rank", HEADS)
    t.kv("ssm.group_count", KEY_HEADS)


def delta_net(t: Tiny, block: str, *, newer: bool = True, early: bool = False) -> None:
    """A gated delta net; `newer` as in Qwen3.5, `early` as in the first files of Qwen3-Next."""
    s, n, n_all = t.shape, HEADS * D_HEAD, (HEADS + 2 * KEY_HEADS) * D_HEAD
    if early:
        t.matrix(f"{block}.ssm_in", n_all + n, s.n_embd)
    else:
        t.matrix(f"{block}.attn_qkv", n_all, s.n_embd)
        t.matrix(f"{block}.attn_gate", n, s.n_embd)
    t.matrix(f"{block}.ssm_conv1d", n_all, N_CONV, 1.5)
    t.bias(f"{block}.ssm_dt", HEADS)
    t.tensor(f"{block}.ssm_a", -np.linspace(0.02, 0.6, HEADS))
    if newer:
        t.matrix(f"{block}.ssm_alpha", HEADS, s.n_embd)
        t.matrix(f"{block}.ssm_beta", HEADS, s.n_embd, 2.0)
    else:
        t.matrix(f"{block}.ssm_ba", 2 * HEADS, s.n_embd, 1.5)
    t.norm(f"{block}.ssm_norm", D_HEAD)
    t.matrix(f"{block}.ssm_out", s.n_embd, n)


def attention_with_gates(t: Tiny, block: str) -> None:
    """Attention whose queries come with gates, as in Qwen3-Next."""
    s = t.shape
    t.matrix(f"{block}.attn_q", 2 * s.n_q, s.n_embd, QK)
    t.matrix(f"{block}.attn_k", s.n_kv, s.n_embd, QK)
    t.matrix(f"{block}.attn_v", s.n_kv, s.n_embd)
    t.matrix(f"{block}.attn_output", s.n_embd, s.n_q)
    t.norm(f"{block}.attn_q_norm", s.head_dim)
    t.norm(f"{block}.attn_k_norm", s.head_dim)


def gated_experts(t: Tiny, block: str, experts: int, *, shared: int) -> None:
    """Two of several experts, and a shared one of so many hidden entries behind a gate."""
    expert_mlps(t, block, experts=experts, used=2, n_ff=256)
    gated_mlp(t, block, kind="_shexp", n_ff=shared)
    t.gate(f"{block}.ffn_gate_inp_shexp", t.shape.n_embd)


def plamo2(t: Tiny, *, tied: bool = False) -> None:
    """PLaMo 2: heads as in Mamba 2, coefficients as in Mamba 1, norms before and after everything."""
    s = t.shape
    transformer_keys(t)
    t.kv("attention.head_count_kv", heads_of(t))
    ssm_keys(t, groups=0)
    ends(t, tied=tied)
    n, heads, rank, state = 2 * s.n_embd, 8, 64, 16
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        if i == 1:
            attention(t, block, fused=True)
            t.norms(f"{block}.attn_q_norm", s.n_head, s.head_dim)
            t.norms(f"{block}.attn_k_norm", s.n_head_kv, s.head_dim)
        else:
            t.matrix(f"{block}.ssm_in", 2 * n, s.n_embd)
            t.matrix(f"{block}.ssm_conv1d", n, N_CONV, 1.5)
            t.matrix(f"{block}.ssm_x", rank + 2 * state, n, 1.5)
            t.matrix(f"{block}.ssm_dt", heads, rank)
            t.bias(f"{block}.ssm_dt", heads)
            t.tensor(f"{block}.ssm_a", -np.linspace(0.02, 0.6, heads))
            t.tensor(f"{block}.ssm_d", np.linspace(-1.5, 1.5, heads))
            t.uniform(f"{block}.ssm_dt_norm", (rank,), 0.3, 2.0)
            t.uniform(f"{block}.ssm_b_norm", (state,), 0.3, 2.0)
            t.uniform(f"{block}.ssm_c_norm", (state,), 0.3, 2.0)
            t.matrix(f"{block}.ssm_out", s.n_embd, n)
        t.uniform(f"{block}.post_attention_norm", (s.n_embd,), 0.3, 2.0)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        t.matrix(f"{block}.ffn_up", 2 * s.n_ff, s.n_embd)
        t.matrix(f"{block}.ffn_down", s.n_embd, s.n_ff, 1.5)
        t.uniform(f"{block}.post_ffw_norm", (s.n_embd,), 0.3, 2.0)


def lone_keys(t: Tiny) -> None:
    """The keys that a model of recurrent layers alone has of a transformer's."""
    s = t.shape
    t.kv("block_count", s.n_layer)
    t.kv("context_length", s.n_ctx)
    t.kv("embedding_length", s.n_embd)
    t.kv("feed_forward_length", 0)
    t.kv("attention.head_count", 0)
    t.kv("attention.layer_norm_rms_epsilon", 1e-5)


def plain_experts(t: Tiny, block: str, experts: int, sizes: bool) -> None:
    """Two of several MLPs without gates, and one that all tokens share."""
    s, n_ff = t.shape, 256
    t.kv("expert_count", experts)
    t.kv("expert_used_count", 2)
    if sizes:
        t.kv("expert_feed_forward_length", n_ff)
    t.kv("expert_shared_feed_forward_length", n_ff)
    t.kv("expert_weights_norm", True)
    t.kv("expert_weights_scale", 2.5)
    t.matrix(f"{block}.ffn_gate_inp", experts, s.n_embd, 3.0)
    t.bias(f"{block}.exp_probs_b", experts)
    t.stack(f"{block}.ffn_up_exps", experts, n_ff, s.n_embd)
    t.stack(f"{block}.ffn_down_exps", experts, s.n_embd, n_ff)
    t.matrix(f"{block}.ffn_up_shexp", n_ff, s.n_embd)
    t.matrix(f"{block}.ffn_down_shexp", s.n_embd, n_ff)


def ssm_keys(t: Tiny, *, heads: int = 8, groups: int | None = 2) -> None:
    """The keys of Mamba layers."""
    t.kv("ssm.conv_kernel", N_CONV)
    t.kv("ssm.inner_size", 2 * t.shape.n_embd)
    t.kv("ssm.state_size", 16)
    t.kv("ssm.time_step_rank", heads)
    if groups is not None:
        t.kv("ssm.group_count", groups)


def mamba2_mixer(t: Tiny, block: str, *, norm: bool = True, size: float = 1.0) -> None:
    """Heads of 64 channels in two groups; what they keep from one token to the next is between half and nearly all.

    size: the scale of the output, for mixers without a norm.
    """
    s, n, heads, groups, state = t.shape, 2 * t.shape.n_embd, 8, 2, 16
    n_conv = n + 2 * groups * state
    t.matrix(f"{block}.ssm_in", n + n_conv + heads, s.n_embd)
    t.matrix(f"{block}.ssm_conv1d", n_conv, N_CONV, 1.5)
    t.bias(f"{block}.ssm_conv1d", n_conv)
    t.bias(f"{block}.ssm_dt", heads)
    t.tensor(f"{block}.ssm_a", -np.linspace(0.02, 0.6, heads)[:, None])
    t.tensor(f"{block}.ssm_d", np.linspace(-1.5, 1.5, heads)[:, None])
    if norm:
        t.norms(f"{block}.ssm_norm", groups, n // groups)
    t.matrix(f"{block}.ssm_out", s.n_embd, n, size)


def mamba_mixer(t: Tiny, block: str, *, size: float = 0.12) -> None:
    """Every channel with 16 decays of its own."""
    s, n, rank, state = t.shape, 2 * t.shape.n_embd, 32, 16
    t.matrix(f"{block}.ssm_in", 2 * n, s.n_embd)
    t.matrix(f"{block}.ssm_conv1d", n, N_CONV, 1.5)
    t.bias(f"{block}.ssm_conv1d", n)
    t.matrix(f"{block}.ssm_x", rank + 2 * state, n, 0.8)
    t.matrix(f"{block}.ssm_dt", n, rank)
    t.bias(f"{block}.ssm_dt", n)
    t.tensor(f"{block}.ssm_a", -np.linspace(0.02, 0.8, n * state).reshape(state, n).T)
    t.tensor(f"{block}.ssm_d", np.linspace(-1.5, 1.5, n))
    t.matrix(f"{block}.ssm_out", s.n_embd, n, size)
