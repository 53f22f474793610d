"""Families of plain decoders that are further from llama: LayerNorm, parallel blocks, learned positions, ALiBi.

Names and required keys are those of llama.cpp's src/models/<arch>.cpp and llama-arch.cpp. The keyword arguments are the
variants that real files of the family come in.
"""

from __future__ import annotations

import numpy as np

from tinymodels.builder import Tiny, attention, blocks, ends, expert_mlps, gated_mlp, transformer_keys
from tinymodels.tokenizer import VOCAB_SIZE


def layernorm_keys(t: Tiny, *, rope: bool = True, n_rot: int = 0, rope_base: float = 10000.0) -> None:
    """The keys of a transformer with LayerNorm; n_rot: the rotated entries of a head, all of them if it is 0."""
    transformer_keys(t, rope_base=rope_base)
    t.kv("attention.layer_norm_rms_epsilon", None)
    t.kv("attention.layer_norm_epsilon", 1e-5)
    if n_rot:
        t.kv("rope.dimension_count", n_rot)
    if not rope:
        t.kv("rope.dimension_count", None)
        t.kv("rope.freq_base", None)


def layernorm(t: Tiny, name: str, *, bias: bool = True) -> None:
    """The weight of a LayerNorm, and its bias."""
    t.norm(name, t.shape.n_embd)
    if bias:
        t.bias(name, t.shape.n_embd)


def head_norms(t: Tiny, block: str) -> None:
    """Norms of queries and keys with weights for every head."""
    s = t.shape
    for name, n_head in (("attn_q_norm", s.n_head), ("attn_k_norm", s.n_head_kv)):
        t.norms(f"{block}.{name}", n_head, s.head_dim)


def plain_mlp(t: Tiny, block: str, *, bias: bool = True, down: float = 1.5) -> None:
    """Up and down projections; `down` makes up for what the activation takes away."""
    s = t.shape
    t.matrix(f"{block}.ffn_up", s.n_ff, s.n_embd)
    t.matrix(f"{block}.ffn_down", s.n_embd, s.n_ff, down)
    if bias:
        t.bias(f"{block}.ffn_up", s.n_ff)
        t.bias(f"{block}.ffn_down", s.n_embd)


def layernorm_ends(t: Tiny, *, tied: bool, size: float = 1.0, bias: bool = True) -> None:
    """Embeddings, head and an output norm that is a LayerNorm."""
    ends(t, tied=tied, size=size)
    if bias:
        t.bias("output_norm", t.shape.n_embd)


def command_r(t: Tiny) -> None:
    """Command R; with 64 layers Command R+, whose heads are normalised."""
    s = t.shape
    layernorm_keys(t, rope_base=8e6)
    t.kv("logit_scale", 0.25)
    layernorm_ends(t, tied=True, bias=False)
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm", bias=False)
        attention(t, block)
        if s.n_layer >= 64:
            head_norms(t, block)
        gated_mlp(t, block)


def cohere2(t: Tiny, *, window: int = 12) -> None:
    """Command R7B: Command R with windows and rotations in three of four layers."""
    layernorm_keys(t, rope_base=50000.0)
    t.kv("logit_scale", 0.25)
    t.kv("attention.sliding_window", window)
    layernorm_ends(t, tied=True, bias=False)
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm", bias=False)
        attention(t, block)
        gated_mlp(t, block)


def starcoder2(t: Tiny, *, tied: bool = False) -> None:
    """StarCoder 2."""
    layernorm_keys(t, rope_base=1e5)
    layernorm_ends(t, tied=tied)
    for block in blocks(t):
        sequential(t, block)


def gpt2(t: Tiny, *, tied: bool = False) -> None:
    """GPT-2; with one head of keys and values it is StarCoder 1."""
    s = t.shape
    layernorm_keys(t, rope=False)
    t.matrix("position_embd", s.n_ctx, s.n_embd, 0.7 * np.sqrt(s.n_embd))
    layernorm_ends(t, tied=tied)
    for block in blocks(t):
        sequential(t, block, fused=True)


def sequential(t: Tiny, block: str, *, fused: bool = False) -> None:
    """A block with LayerNorms, a plain MLP and biases everywhere."""
    layernorm(t, f"{block}.attn_norm")
    attention(t, block, bias=True, output_bias=True, fused=fused)
    layernorm(t, f"{block}.ffn_norm")
    plain_mlp(t, block)


def phi2(t: Tiny, *, n_rot: int = 32, fused: bool = False) -> None:
    """Phi-2: a parallel block behind one norm, RoPE on half of each head, biases everywhere."""
    layernorm_keys(t, n_rot=n_rot)
    layernorm_ends(t, tied=False)
    t.bias("output", VOCAB_SIZE)
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm")
        attention(t, block, bias=True, output_bias=True, fused=fused)
        plain_mlp(t, block)


def gptneox(t: Tiny, *, parallel: bool = True, n_rot: int = 16) -> None:
    """GPT-NeoX, Pythia: a quarter of each head is rotated."""
    layernorm_keys(t, n_rot=n_rot)
    t.kv("use_parallel_residual", parallel)
    layernorm_ends(t, tied=False)
    for block in blocks(t):
        sequential(t, block, fused=True)


def falcon(t: Tiny, *, tied: bool = False, norms: int = 1) -> None:
    """Falcon 7B; the 40B has two norms in a block. Only norms have biases."""
    layernorm_keys(t)
    layernorm_ends(t, tied=tied)
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm")
        if norms == 2:
            layernorm(t, f"{block}.attn_norm_2")
        attention(t, block, fused=True)
        plain_mlp(t, block, bias=False)


def stablelm(t: Tiny, *, bias: bool = False, parallel: bool = False, n_rot: int = 16) -> None:
    """StableLM; `bias`: that of StableLM 2's q, k and v; `parallel`: the 12B with its norms of queries and keys."""
    layernorm_keys(t, n_rot=n_rot)
    layernorm_ends(t, tied=False)
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm")
        attention(t, block, bias=bias)
        if parallel:
            head_norms(t, block)
        else:
            layernorm(t, f"{block}.ffn_norm")
        gated_mlp(t, block)


def glm4(t: Tiny, *, tied: bool = False, bias: bool = True, n_rot: int = 32) -> None:
    """GLM-4-0414: norms before and after each part, gate and up in one matrix, RoPE on half of each head."""
    s = t.shape
    transformer_keys(t)
    t.kv("rope.dimension_count", n_rot)
    ends(t, tied=tied)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=bias)
        t.norm(f"{block}.post_attention_norm", s.n_embd)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        t.matrix(f"{block}.ffn_up", 2 * s.n_ff, s.n_embd)
        t.matrix(f"{block}.ffn_down", s.n_embd, s.n_ff, 1.5)
        t.norm(f"{block}.post_ffw_norm", s.n_embd)


def internlm2(t: Tiny, *, bias: bool = False) -> None:
    """InternLM 2: llama under another name."""
    s = t.shape
    transformer_keys(t, rope_base=1e6)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block, bias=bias)
        t.norm(f"{block}.ffn_norm", s.n_embd)
        gated_mlp(t, block)


def nemotron(t: Tiny, *, bias: bool = False, n_rot: int = 32) -> None:
    """Nemotron 4: LayerNorm, a squared ReLU, RoPE on half of each head."""
    layernorm_keys(t, n_rot=n_rot)
    layernorm_ends(t, tied=False)
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm")
        attention(t, block, bias=bias, output_bias=bias)
        layernorm(t, f"{block}.ffn_norm")
        plain_mlp(t, block, bias=bias, down=0.8)


def bloom(t: Tiny, *, tied: bool = False) -> None:
    """BLOOM: ALiBi, and a norm on the embeddings."""
    layernorm_keys(t, rope=False)
    layernorm_ends(t, tied=tied)
    layernorm(t, "token_embd_norm")
    for block in blocks(t):
        sequential(t, block, fused=True)


def mpt(
    t: Tiny,
    *,
    tied: bool = False,
    bias: bool = False,
    clamp: float = 1.2,
    max_alibi_bias: float = 8.0,
    positions: bool = False,
) -> None:
    """MPT: ALiBi or learned positions; `clamp` limits queries, keys and values.

    Real files tie the head to the embeddings. Larger ones are the default here, and clamps such that the finite
    differences that check a derivative cross none of the clamp's kinks.
    """
    s = t.shape
    layernorm_keys(t, rope=False)
    if clamp:
        t.kv("attention.clamp_kqv", clamp)
    if max_alibi_bias:
        t.kv("attention.max_alibi_bias", max_alibi_bias)
    layernorm_ends(t, tied=tied, bias=bias)
    if positions:
        t.matrix("position_embd", s.n_ctx, s.n_embd, 0.7 * np.sqrt(s.n_embd))
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm", bias=bias)
        attention(t, block, bias=bias, output_bias=bias, fused=True)
        layernorm(t, f"{block}.ffn_norm", bias=bias)
        plain_mlp(t, block, bias=bias)


def codeshell(t: Tiny, *, embeddings: bool = True, fused: bool = True) -> None:
    """CodeShell: StarCoder 2 whose file may leave out the embeddings, which are the head's then."""
    s = t.shape
    layernorm_keys(t)
    if embeddings:
        t.matrix("token_embd", VOCAB_SIZE, s.n_embd, np.sqrt(s.n_embd))
    layernorm(t, "output_norm")
    t.matrix("output", VOCAB_SIZE, s.n_embd, 2.0)
    for block in blocks(t):
        sequential(t, block, fused=fused)


def orion(t: Tiny) -> None:
    """Orion: llama with LayerNorm."""
    layernorm_keys(t)
    layernorm_ends(t, tied=False)
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm")
        attention(t, block)
        layernorm(t, f"{block}.ffn_norm")
        gated_mlp(t, block)


def plamo(t: Tiny) -> None:
    """PLaMo: a parallel block behind one RMS norm."""
    s = t.shape
    transformer_keys(t)
    ends(t, tied=False)
    for block in blocks(t):
        t.norm(f"{block}.attn_norm", s.n_embd)
        attention(t, block)
        gated_mlp(t, block)


def olmo(t: Tiny, *, clamp: float = 1.5) -> None:
    """OLMo 1: norms have no weights."""
    s = t.shape
    layernorm_keys(t)
    if clamp:
        t.kv("attention.clamp_kqv", clamp)
    t.matrix("token_embd", VOCAB_SIZE, s.n_embd, np.sqrt(s.n_embd))
    t.matrix("output", VOCAB_SIZE, s.n_embd, 2.0)
    for block in blocks(t):
        attention(t, block)
        gated_mlp(t, block)


def dbrx(t: Tiny) -> None:
    """DBRX."""
    layernorm_keys(t)
    t.kv("attention.clamp_kqv", 1.5)
    layernorm_ends(t, tied=False, bias=False)
    for block in blocks(t):
        layernorm(t, f"{block}.attn_norm", bias=False)
        attention(t, block, fused=True)
        layernorm(t, f"{block}.attn_output_norm", bias=False)
        expert_mlps(t, block, experts=4, used=2)
