"""Families that are another one with a key or two of their own, the text parts of vision models among them.

Names and required keys are those of llama.cpp's src/models/<arch>.cpp and llama-arch.cpp. The keyword arguments are the
variants that real files of the family come in.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinymodels import decoders, mixtures, more_decoders
from tinymodels.builder import QK, Tiny, attention, blocks, ends, expert_mlps, gated_mlp, transformer_keys
from tinymodels.decoders import granite_keys
from tinymodels.more_decoders import head_norms
from tinymodels.tokenizer import VOCAB_SIZE


def attended(
    t: Tiny, *, bias: bool = False, output_bias: bool = False, fused: bool = False, norms: bool = False
) -> None:
    """The norms and the attention of pre-norm blocks."""
    s = t.shape
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=bias, output_bias=output_bias, fused=fused)
        if norms:
            head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)


def decoder(
    t: Tiny,
    *,
    tied: bool = False,
    bias: bool = False,
    output_bias: bool = False,
    fused: bool = False,
    norms: bool = False,
    mlp_bias: bool = False,
    experts: int = 0,
    n_ff_expert: int = 0,
    size: float = 1.0,
) -> None:
    """Pre-norm blocks of attention and gated MLPs, or experts; norms: of every head's queries and keys."""
    transformer_keys(t)
    if n_ff_expert:
        t.kv("expert_feed_forward_length", n_ff_expert)
    ends(t, tied=tied, size=size)
    attended(t, bias=bias, output_bias=output_bias, fused=fused, norms=norms)
    for block in blocks(t):
        if experts:
            expert_mlps(t, block, experts=experts, used=2, n_ff=n_ff_expert)
        else:
            gated_mlp(t, block, bias=mlp_bias)


# --- the text parts of vision models ------------------------------------------------------------------------------

#: Pairs that do not rotate are among the fast ones too, where that shows.
SECTIONS = [2, 1, 1, 1]
TAKING_TURNS = [6, 5, 3, 0]


def qwen2vl(t: Tiny, *, tied: bool = False) -> None:
    """Qwen2-VL: Qwen 2 with sections."""
    decoders.qwen2(t, tied=tied)
    t.kv("rope.dimension_sections", SECTIONS)


def qwen3vl(t: Tiny, *, tied: bool = False) -> None:
    """Qwen3-VL: Qwen 3 with sections, and layers that images would add something behind."""
    decoders.qwen3(t, tied=tied)
    t.kv("rope.dimension_sections", TAKING_TURNS)
    t.kv("n_deepstack_layers", 1)


def qwen3vlmoe(t: Tiny) -> None:
    """Qwen3-VL with experts."""
    mixtures.qwen3moe(t)
    t.kv("rope.dimension_sections", TAKING_TURNS)
    t.kv("n_deepstack_layers", 1)


def hunyuan_vl(t: Tiny, *, sections: bool = True) -> None:
    """HunyuanOCR: Hunyuan with sections."""
    more_decoders.hunyuan_dense(t)
    if sections:
        t.kv("rope.dimension_sections", SECTIONS)


def paddleocr(t: Tiny, *, bias: bool = False) -> None:
    """PaddleOCR-VL: ERNIE 4.5 with sections."""
    decoder(t, tied=not bias, bias=bias, output_bias=bias)
    t.kv("rope.dimension_sections", SECTIONS)


def cogvlm(t: Tiny) -> None:
    """CogVLM: every layer has its matrices twice, once for images."""
    s = t.shape
    decoder(t, fused=True)
    for block in blocks(t):
        t.matrix(f"{block}.vis_attn_qkv", 3 * s.n_q, s.n_embd)
        t.matrix(f"{block}.vis_attn_output", s.n_embd, s.n_q)
        t.matrix(f"{block}.vis_gate", s.n_ff, s.n_embd)
        t.matrix(f"{block}.vis_up", s.n_ff, s.n_embd)
        t.matrix(f"{block}.vis_down", s.n_embd, s.n_ff)


# --- others -------------------------------------------------------------------------------------------------------


def phimoe(t: Tiny, *, longrope: bool = True) -> None:
    """Phi-3.5-MoE: biases everywhere, also in the norms."""
    s = t.shape
    decoder(t, bias=True, output_bias=True, experts=4)
    t.kv("rope.scaling.original_context_length", 256)
    if longrope:
        t.kv("rope.scaling.attn_factor", 1.19)
        t.factors("rope_factors_long", s.head_dim // 2, 1.0, 32.0)
        t.factors("rope_factors_short", s.head_dim // 2, 1.0, 3.0)
    t.bias("output", VOCAB_SIZE)
    for name in ("output_norm", *(f"{block}.{norm}" for block in blocks(t) for norm in ("attn_norm", "ffn_norm"))):
        t.bias(name, s.n_embd)


def minicpm(t: Tiny, *, multipliers: bool = True, longrope: bool = False, biases: bool = False) -> None:
    """MiniCPM 1 and 2, whose multipliers older files leave out; with LongRoPE it is MiniCPM 4."""
    s = t.shape
    decoder(t, tied=not multipliers, bias=biases, output_bias=biases, mlp_bias=biases, size=0.1)
    if multipliers:
        t.kv("embedding_scale", 9.0)
        t.kv("residual_scale", 0.6)
        t.kv("logit_scale", 3.0)
    if longrope:
        t.kv("rope.scaling.type", "longrope")
        t.kv("rope.scaling.original_context_length", 256)
        t.factors("rope_factors_long", s.head_dim // 2, 1.0, 32.0)
        t.factors("rope_factors_short", s.head_dim // 2, 1.0, 3.0)


def deci(t: Tiny, *, heads: tuple[int, ...] = (4, 0, 4), shared: tuple[int, ...] = (2, 0, 0), empty: int = -1) -> None:
    """Llama-Nemotron: by their heads and those of their keys, layers with attention, without it, and with a matrix in
    its place; empty: the number of a layer with nothing at all."""
    s = t.shape
    transformer_keys(t, rope_base=5e5)
    t.factors("rope_freqs", s.head_dim // 2, 1.0, 8.0)
    sizes = [0 if i == empty else s.n_ff + 256 * (i % 2) for i in range(len(heads))]
    t.kv("attention.head_count", list(heads))
    t.kv("attention.head_count_kv", list(shared))
    t.kv("feed_forward_length", sizes)
    ends(t, tied=False)
    for i, (n_head, n_head_kv, n_ff) in enumerate(zip(heads, shared, sizes, strict=True)):
        block = f"blk.{i}"
        if n_head:
            t.norm(f"{block}.attn_norm", s.n_embd)
            if n_head_kv:
                attention(t, block)
            else:
                t.matrix(f"{block}.attn_output", s.n_embd, s.n_embd)
        if n_ff:
            t.norm(f"{block}.ffn_norm", s.n_embd)
            gated_mlp(t, block, n_ff=n_ff)


def qwen(t: Tiny) -> None:
    """Qwen 1, whose files say twice the size of the MLP."""
    decoder(t, bias=True, fused=True)
    t.kv("feed_forward_length", 2 * t.shape.n_ff)


def chatglm(t: Tiny, *, tied: bool = False) -> None:
    """ChatGLM 3 and GLM 4 9B of 2024."""
    s = t.shape
    transformer_keys(t)
    t.kv("rope.dimension_count", s.head_dim // 2)
    ends(t, tied=tied)
    attended(t, bias=True, fused=True)
    for block in blocks(t):
        t.matrix(f"{block}.ffn_up", 2 * s.n_ff, s.n_embd)
        t.matrix(f"{block}.ffn_down", s.n_embd, s.n_ff, 1.5)


def baichuan(t: Tiny) -> None:
    """Baichuan, by its layers with RoPE (32), with ALiBi (40), or with no positions."""
    decoder(t, size=1.0 if t.shape.n_layer < 32 else 6.0)
    if t.shape.n_layer != 32:
        no_rope(t)


def no_rope(t: Tiny) -> None:
    """Leave out what a file says of RoPE."""
    t.kv("rope.dimension_count", None)
    t.kv("rope.freq_base", None)


def refact(t: Tiny, *, bias: bool = False) -> None:
    """Refact: ALiBi; of the biases only those of queries and values matter, and the others are read."""
    decoder(t, tied=bias, bias=bias, output_bias=bias, mlp_bias=bias)
    no_rope(t)


def bitnet(t: Tiny) -> None:
    """BitNet: norms before the output projections, which make their inputs large enough."""
    s = t.shape
    decoder(t, tied=True)
    for block in blocks(t):
        t.norm(f"{block}.attn_sub_norm", s.n_embd)
        t.norm(f"{block}.ffn_sub_norm", s.n_ff)


def openelm(t: Tiny) -> None:
    """OpenELM: the second layer has more heads and a wider MLP than the first."""
    s = t.shape
    heads, shared, sizes = [2, 4], [1, 2], [s.n_ff, s.n_ff + 256]
    transformer_keys(t)
    t.kv("attention.head_count", heads)
    t.kv("attention.head_count_kv", shared)
    t.kv("feed_forward_length", sizes)
    ends(t, tied=True)
    for i, block in enumerate(blocks(t)):
        t.norm(f"{block}.attn_norm", s.n_embd)
        t.matrix(f"{block}.attn_qkv", (heads[i] + 2 * shared[i]) * s.head_dim, s.n_embd, QK)
        t.matrix(f"{block}.attn_output", s.n_embd, heads[i] * s.head_dim)
        head_norms(t, block)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block, n_ff=sizes[i])


def mellum(t: Tiny, *, window: int = 12) -> None:
    """Mellum 2: Qwen 3 with experts and windows."""
    mixtures.qwen3moe(t)
    if window:
        t.kv("attention.sliding_window", window)
    for key, value in {"type": "yarn", "factor": 8.0, "original_context_length": 64}.items():
        t.kv(f"rope.scaling.{key}", value)


def arctic(t: Tiny) -> None:
    """Arctic: an MLP as wide as the state, and experts beside it."""
    s = t.shape
    transformer_keys(t)
    ends(t, tied=False)
    attended(t)
    for block in blocks(t):
        gated_mlp(t, block, n_ff=s.n_embd)
        t.norm(f"{block}.ffn_norm_exps", s.n_embd)
        expert_mlps(t, block, experts=4, used=2)


def smallthinker(t: Tiny, *, window: int = 12, gating: int = 2) -> None:
    """SmallThinker: with a window (of 4096, whatever is said) layers without RoPE."""
    decoder(t, experts=4, n_ff_expert=256)
    t.kv("expert_gating_func", gating)
    if window:
        t.kv("attention.sliding_window", window)


def grok(t: Tiny, *, dense: bool = True, given: bool = True) -> None:
    """Grok 2; without the MLP and with its multipliers left out Grok 1."""
    s = t.shape
    transformer_keys(t)
    if given:
        for key, value in (
            ("embedding_scale", 9.0),
            ("logit_scale", 0.4),
            ("attention.output_scale", 0.2),
            ("attn_logit_softcapping", 2.0),
            ("router_logit_softcapping", 7.0),
            ("final_logit_softcapping", 3.0),
            ("attention.temperature_length", 8),
            ("rope.scaling.type", "yarn"),
            ("rope.scaling.factor", 16.0),
            ("rope.scaling.original_context_length", 64),
            ("rope.scaling.yarn_ext_factor", 1.0),
            ("rope.scaling.yarn_attn_factor", 1.0),
            ("rope.scaling.yarn_beta_fast", 8.0),
            ("rope.scaling.yarn_beta_slow", 1.0),
            ("expert_feed_forward_length", 256),
        ):
            t.kv(key, value)
    ends(t, tied=not given, size=0.1 if given else 0.01)
    attended(t)
    for block in blocks(t):
        t.norm(f"{block}.attn_output_norm", s.n_embd)
        t.norm(f"{block}.post_ffw_norm" if dense else f"{block}.layer_output_norm", s.n_embd)
        expert_mlps(t, block, experts=4, used=2, n_ff=256 if given else s.n_ff)
        if dense:
            gated_mlp(t, block)


def granite_switch(
    t: Tiny,
    *,
    tied: bool = False,
    idle: bool = True,
    tokens: Sequence[int] = (201, 44, 287, 74),
    gain: float | None = 15.0,
    finetuned: bool | None = None,
) -> None:
    """Granite with low-rank adapters that tokens switch on, here those of the usual prompts: number 1 from position 2
    on, 2 from 4 on, which is the mean of 1 and 3, 3 from 8 on and for good. idle: before them none is at work."""
    s, rank = t.shape, 8
    n = len(tokens) + 1
    transformer_keys(t, rope_base=5e6)
    granite_keys(t, finetuned)
    t.kv("adapters.count", len(tokens))
    t.kv("adapters.lora_rank", rank)
    t.kv("adapters.token_ids_activate", list(tokens))
    t.kv("adapters.token_ids_substitute", list(range(100, 100 + len(tokens))))
    t.kv("adapters.router_gain", gain)
    ends(t, tied=tied, size=0.2)
    attended(t, fused=True)
    for block in blocks(t):
        gated_mlp(t, block)
        for name, n_out, n_in in (
            ("attn_q", s.n_q, s.n_embd),
            ("attn_k", s.n_kv, s.n_embd),
            ("attn_v", s.n_kv, s.n_embd),
            ("attn_output", s.n_embd, s.n_q),
            ("ffn_gate", s.n_ff, s.n_embd),
            ("ffn_up", s.n_ff, s.n_embd),
            ("ffn_down", s.n_embd, s.n_ff),
        ):
            t.adapters(f"{block}.{name}", n, rank, n_out, n_in, idle=idle)
