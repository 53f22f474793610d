"""Further families of plain decoders: one function each, which gives a model its keys and tensors.

Names and required keys are those of llama.cpp's src/models/<arch>.cpp and llama-arch.cpp. The keyword arguments are the
variants that real files of the family come in.
"""

from __future__ import annotations

from tinymodels.builder import Tiny, attention, blocks, ends, gated_mlp, transformer_keys


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


def apertus(t: Tiny, *, bias: bool = False, longrope: bool = False, eps: float = -1e-6) -> None:
    """Apertus; the numbers of xIELU are far from those of real files, so that each of them shows.

    All but eps: at 0 the function jumps by about that much, so that another value of it makes the logits depend on the
    sign of arguments that rounding decides.
    """
    s = t.shape
    transformer_keys(t, rope_base=12e6)
    t.raw("xielu.alpha_n", [0.8 + 0.3 * i for i in range(s.n_layer)])
    t.raw("xielu.alpha_p", [0.5 - 0.4 * i for i in range(s.n_layer)])
    t.raw("xielu.beta", [0.5 - 0.2 * i for i in range(s.n_layer)])
    t.raw("xielu.eps", [eps] * s.n_layer)
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
