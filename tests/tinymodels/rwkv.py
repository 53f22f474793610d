"""RWKV 6 and 7, and the models of Qwen's sizes that were made with them: one function each.

Names and required keys are those of llama.cpp's src/models/rwkv*.cpp. Decays are such that a head forgets between a
hundredth and most of an entry from one token to the next.
"""

from __future__ import annotations

from tinymodels.builder import Tiny, blocks, ends, gated_mlp
from tinymodels.classics import layernorm, layernorm_ends

RANK = 32


def rwkv7(t: Tiny) -> None:
    """RWKV 7. llama.cpp's vector code reads heads in pieces of 64 entries."""
    s = t.shape
    wkv_keys(t, s.head_dim)
    t.kv("attention.layer_norm_epsilon", 1e-5)
    seven_keys(t)
    layernorm_ends(t, tied=False)
    layernorm(t, "token_embd_norm")
    for i, block in enumerate(blocks(t)):
        layernorm(t, f"{block}.attn_norm")
        time_mix_7(t, block, i)
        layernorm(t, f"{block}.attn_norm_2")
        t.uniform(f"{block}.channel_mix_lerp_k.weight", (s.n_embd,), 0.1, 0.9)
        channel_mix(t, block)


def arwkv7(t: Tiny, *, gate: bool = True, norm: bool = True) -> None:
    """ARWKV 7; gate, norm: what only some files have."""
    s = t.shape
    wkv_keys(t, s.head_dim)
    t.kv("attention.layer_norm_rms_epsilon", 1e-5)
    t.kv("token_shift_count", 1)
    seven_keys(t, gate=gate)
    ends(t, tied=False)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        time_mix_7(t, block, i, gate=gate, norm=norm)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def rwkv6(t: Tiny, *, fused: bool = True) -> None:
    """RWKV 6, halved after its second layer; fused: the offsets of a layer's token shifts in one tensor."""
    s = t.shape
    wkv_keys(t, s.head_dim)
    t.kv("attention.layer_norm_epsilon", 1e-5)
    t.kv("rescale_every_n_layers", 2)
    six_keys(t)
    layernorm_ends(t, tied=False)
    layernorm(t, "token_embd_norm")
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm")
        time_mix_6(t, block, s.n_embd, fused=fused)
        t.uniform(f"{block}.time_mix_first.weight", (s.n_embd // s.head_dim, s.head_dim), -2.0, 2.0)
        head_norm(t, block)
        layernorm(t, f"{block}.attn_norm_2")
        t.uniform(f"{block}.channel_mix_lerp_k.weight", (s.n_embd,), 0.1, 0.9)
        t.uniform(f"{block}.channel_mix_lerp_r.weight", (s.n_embd,), 0.1, 0.9)
        channel_mix(t, block)
        t.matrix(f"{block}.channel_mix_receptance", s.n_embd, s.n_embd)


def rwkv6qwen2(t: Tiny, *, bias: bool = True) -> None:
    """QRWKV 6; without heads of their own, keys and values have as many as the receptances."""
    s = t.shape
    wkv_keys(t, s.head_dim)
    t.kv("attention.layer_norm_rms_epsilon", 1e-5)
    t.kv("attention.head_count_kv", s.n_head_kv)
    t.kv("token_shift_count", 1)
    t.kv("rescale_every_n_layers", 1)
    six_keys(t)
    n_kv = s.n_kv or s.n_embd
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        time_mix_6(t, block, n_kv)
        if bias:
            t.bias(f"{block}.time_mix_receptance", s.n_embd)
            t.bias(f"{block}.time_mix_key", n_kv)
            t.bias(f"{block}.time_mix_value", n_kv)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def wkv_keys(t: Tiny, head_size: int) -> None:
    """The keys of every RWKV."""
    s = t.shape
    t.kv("block_count", s.n_layer)
    t.kv("context_length", s.n_ctx)
    t.kv("embedding_length", s.n_embd)
    t.kv("feed_forward_length", s.n_ff)
    t.kv("attention.head_count", 0)
    t.kv("wkv.head_size", head_size)


def seven_keys(t: Tiny, *, gate: bool = True) -> None:
    """The ranks of RWKV 7's small networks, no two the same."""
    t.kv("attention.decay_lora_rank", RANK)
    t.kv("attention.iclr_lora_rank", 2 * RANK)
    t.kv("attention.value_residual_mix_lora_rank", 3 * RANK)
    t.kv("attention.gate_lora_rank", 4 * RANK if gate else 0)


def six_keys(t: Tiny) -> None:
    """The ranks of RWKV 6's small networks."""
    t.kv("time_mix_extra_dim", RANK)
    t.kv("time_decay_extra_dim", 2 * RANK)


def time_mix_7(t: Tiny, block: str, i: int, *, gate: bool = True, norm: bool = True) -> None:
    """RWKV 7's time mixing. The first layer's network for values is not used; files have that of the rates there."""
    d = t.shape.n_embd
    b = f"{block}.time_mix_"
    t.uniform(f"{b}lerp_fused.weight", (6 if gate else 5, 1, 1, d), 0.1, 0.9)
    networks = {"w": (RANK, -3.0, 1.0), "a": (2 * RANK, -2.0, 2.0), "v": (3 * RANK if i else 2 * RANK, -2.0, 2.0)}
    for kind, (rank, low, high) in networks.items():
        t.uniform(f"{b}{kind}0.weight", (d,), low, high)
        t.matrix(f"{b}{kind}1", rank, d, 2.0)
        t.matrix(f"{b}{kind}2", d, rank, 2.0)
    if gate:
        t.matrix(f"{b}g1", 4 * RANK, d, 2.0)
        t.matrix(f"{b}g2", d, 4 * RANK, 2.0)
    t.uniform(f"{b}k_k.weight", (d,), 0.3, 2.0)
    t.uniform(f"{b}k_a.weight", (d,), 0.3, 1.7)
    t.uniform(f"{b}r_k.weight", (d,), -0.3, 0.3)
    for name in ("key", "value", "receptance", "output"):
        t.matrix(f"{b}{name}", d, d)
    if norm:
        head_norm(t, block)


def time_mix_6(t: Tiny, block: str, n_kv: int, *, fused: bool = True) -> None:
    """RWKV 6's time mixing, its bonus and its norm apart."""
    d = t.shape.n_embd
    b = f"{block}.time_mix_"
    t.uniform(f"{b}lerp_x.weight", (d,), 0.1, 0.9)
    if fused:
        t.uniform(f"{b}lerp_fused.weight", (5, 1, 1, d), 0.1, 0.9)
    else:
        for kind in "wkvrg":
            t.uniform(f"{b}lerp_{kind}.weight", (d,), 0.1, 0.9)
    t.matrix(f"{b}w1", 5 * RANK, d)
    t.stack(f"{b}w2", 5, d, RANK, 0.5)
    t.uniform(f"{b}decay.weight", (d,), -4.0, 0.0)
    t.matrix(f"{b}decay_w1", 2 * RANK, d)
    t.matrix(f"{b}decay_w2", d, 2 * RANK)
    for name, n_out in (("key", n_kv), ("value", n_kv), ("receptance", d), ("gate", d), ("output", d)):
        t.matrix(f"{b}{name}", n_out, d)


def head_norm(t: Tiny, block: str) -> None:
    """The norm of what heads read."""
    t.norm(f"{block}.time_mix_ln", t.shape.n_embd)
    t.bias(f"{block}.time_mix_ln", t.shape.n_embd)


def channel_mix(t: Tiny, block: str) -> None:
    """The two matrices around a squared ReLU."""
    s = t.shape
    t.matrix(f"{block}.channel_mix_key", s.n_ff, s.n_embd)
    t.matrix(f"{block}.channel_mix_value", s.n_embd, s.n_ff, 0.8)
