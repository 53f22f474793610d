"""Small GGUF files with random weights, one function per model family, that llama.cpp itself loads and judges.

make("gemma3", tmp_path / "tiny.gguf", n_layer=8, window=20)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from tinymodels import (
    classics,
    decoders,
    latent,
    mixtures,
    more_decoders,
    planes,
    recurrent,
    relatives,
    rwkv,
    shared_experts,
    wide_gemmas,
    windowed,
)
from tinymodels.builder import Shape, Tiny, Value
from tinymodels.tokenizer import BOS, EOS, TOKENS, UNK, VOCAB_SIZE

__all__ = ["BOS", "EOS", "FAMILIES", "GELU", "TOKENS", "UNK", "VOCAB_SIZE", "Family", "Shape", "Tiny", "make"]


@dataclass(frozen=True)
class Family:
    """How to fill a model of one architecture, its usual sizes, and the forms that its real files come in.

    variants: name -> overrides of `make`. ignored: keys that real files have and llama.cpp does not read. gated:
    whether its MLPs have a gate. state, steps: llama.cpp's name for what a layer hands on, and how many values of a
    layer it names at least. normalised: its name for what the output norm gives, "" if it gives it none. attends: how
    many layers have attention, if not all of them. sizes: keys that fix shapes.
    idle: how the names of tensors begin that files have and nothing uses.
    """

    fill: Callable[..., None]
    shape: Shape = field(default_factory=Shape)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    gated: bool = True
    state: str = "l_out"
    steps: int = 3
    normalised: str = "result_norm"
    attends: int | None = None
    idle: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ("embedding_length", "attention.head_count", "block_count", "feed_forward_length")


#: The families in whose graphs llama.cpp evaluates GELU.
GELU = frozenset(
    [
        "bloom",
        "codeshell",
        "falcon",
        "gemma",
        "gemma2",
        "gemma3",
        "gemma3n",
        "gemma4",
        "gpt2",
        "gptneox",
        "grok",
        "mpt",
        "phi2",
        "spark2_5",
        "starcoder",
        "starcoder2",
    ]
)

#: The sizes of a model of state spaces alone.
SSM_SIZES = ("embedding_length", "ssm.inner_size", "block_count", "ssm.state_size")

#: The sizes of RWKV 7, and of RWKV 6.
RWKV7_SIZES = ("embedding_length", "attention.decay_lora_rank", "block_count", "feed_forward_length")
RWKV6_SIZES = ("embedding_length", "time_mix_extra_dim", "block_count", "feed_forward_length")

#: The sizes of a mixture whose experts' own size is a key that is not read.
OTHER_SIZES = ("embedding_length", "attention.head_count", "block_count")

#: A model of many layers.
NARROW: dict[str, Any] = {"n_embd": 64, "n_ff": 64, "n_head": 2, "n_head_kv": 2, "head_dim": 32}

#: What CogVLM's layers have for images.
VISION = tuple(f"blk.{i}.vis_" for i in range(2))

YARN: dict[str, Value | None] = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 256,
}

FAMILIES: dict[str, Family] = {
    "llama": Family(
        decoders.llama,
        variants={
            "llama 3": {"rope_freqs": True, "tied": True},
            "linear scaling": {"rope_scale": 4.0},
            "yarn": {"keys": YARN},
            "longrope": {"longrope": True},
            "biases": {"attention_bias": True, "mlp_bias": True},
            "large heads": {"head_dim": 128, "n_head_kv": 1},
            "experts": {"experts": 4},
            "grouped experts": {"experts": 8, "keys": {"expert_group_count": 4, "expert_group_used_count": 2}},
        },
    ),
    "gemma3": Family(
        decoders.gemma3,
        Shape(n_layer=7),  # the sixth layer is the first global one
        variants={
            "1b": {"rope_scale": 1.0, "swa_base": 500.0},
            "softcap": {"softcap": 3.0, "keys": {"attention.sliding_window_pattern": 2}},
            "pattern": {"keys": {"attention.sliding_window_pattern": [True, False, False, True, True, False, True]}},
            "no window": {"keys": {"attention.sliding_window": None}},
            "yarn": {"keys": YARN},
            # llama.cpp knows the 27B by its layers; its heads are smaller than n_embd / n_head
            "27b": {"n_layer": 62, "n_embd": 128, "n_ff": 64, "n_head": 2, "n_head_kv": 1, "head_dim": 32},
        },
    ),
    "qwen3": Family(decoders.qwen3, Shape(head_dim=128), variants={"tied": {"tied": True}, "yarn": {"keys": YARN}}),
    "qwen2": Family(
        decoders.qwen2,
        variants={"tied": {"tied": True, "output_bias": True}, "yarn": {"keys": YARN}, "fused": {"fused": True}},
    ),
    "phi3": Family(
        decoders.phi3,
        variants={"tied": {"tied": True, "n_rot": 64}, "4k": {"longrope": False}},
        ignored=frozenset({"attention.sliding_window"}),
    ),
    "olmo2": Family(
        decoders.olmo2,
        Shape(n_layer=4),  # OLMo 3's fourth layer is the first global one
        variants={
            "yarn": {"yarn": True},
            "olmo 3": {"window": 12, "yarn": True, "keys": {"rope.freq_base_swa": 100.0}},
            "pattern": {"window": 12, "keys": {"attention.sliding_window_pattern": 2}},
        },
        ignored=frozenset({"rope.freq_base_swa"}),
    ),
    "mistral3": Family(
        decoders.mistral3,
        variants={
            "tied": {"tied": True, "temperature": 0.0},
            "no yarn": {"yarn": False},
            "log multiplier": {"log_mul": 0.5},
            "biases": {"attention_bias": True, "mlp_bias": True},
            "experts": {"experts": 4},
        },
    ),
    "qwen2moe": Family(mixtures.qwen2moe, variants={"sizes left out": {"n_ff_expert": 0, "n_ff_shared": 0}}),
    "qwen3moe": Family(
        mixtures.qwen3moe,
        Shape(n_ff=768, head_dim=128),
        variants={"tied, size left out": {"tied": True, "n_ff_expert": 0}, "yarn": {"keys": YARN}},
    ),
    "olmoe": Family(mixtures.olmoe, Shape(n_head_kv=4, n_ff=256)),
    "gemma": Family(decoders.gemma, Shape(head_dim=128, n_head_kv=1)),
    "gemma2": Family(
        decoders.gemma2,
        Shape(n_layer=4),
        variants={
            "limits left out": {
                "keys": {
                    "attn_logit_softcapping": None,
                    "final_logit_softcapping": None,
                    "attention.sliding_window": None,
                }
            },
            "bases": {"keys": {"rope.freq_base_swa": 300.0, "attention.sliding_window_pattern": 0}},
            "27b": {"n_layer": 46, "n_embd": 128, "n_ff": 64, "n_head": 2, "n_head_kv": 1, "head_dim": 32},
        },
    ),
    "granite": Family(
        decoders.granite,
        variants={
            "biases": {"attention_bias": True, "mlp_bias": True, "tied": True},
            "no positions": {"finetuned": False},
            "plain multipliers": {"keys": {"embedding_scale": None, "residual_scale": None, "attention.scale": None}},
        },
    ),
    "granitemoe": Family(
        partial(decoders.granite, experts=4, finetuned=False),
        variants={"shared expert": {"shared": 256}},
        ignored=frozenset({"rope.scaling.finetuned"}),
    ),
    "smollm3": Family(decoders.smollm3, Shape(n_layer=4), variants={"tied": {"tied": True}}),
    "gemma3n": Family(
        wide_gemmas.gemma3n,
        Shape(n_layer=22, n_ff=256),  # the last two have no keys and values of their own
        variants={"period": {"n_layer": 25, "listed": False, "swa_base": None}},
        ignored=frozenset(
            {"altup.active_idx", "altup.num_inputs", "activation_sparsity_scale", "final_logit_softcapping"}
        ),
        idle=tuple(f"blk.{i}.attn_{x}" for i in range(20, 25) for x in "kv"),
    ),
    "gemma4": Family(
        wide_gemmas.gemma4,
        Shape(n_layer=3),
        variants={
            "e2b": {"n_layer": 8, "n_input": 256, "shared": 3, "double": True},
            "e4b": {"n_layer": 8, "n_input": 256, "shared": 3, "left": True, "values": False},
            "local donor alone": {"n_layer": 6, "shared": 1},
            "inputs alone": {"n_input": 256},
            "31b": {"values": False, "swa_base": None, "keys": {"final_logit_softcapping": 0.0}},
            "26b-a4b": {"experts": 4},
            "26b-a4b, fused": {"experts": 4, "fused": True},
        },
        idle=tuple(f"blk.{i}.attn_{x}" for i in range(5, 8) for x in "kv"),
    ),
    "exaone": Family(more_decoders.exaone, variants={"tied": {"tied": True, "rope_freqs": False, "keys": YARN}}),
    "exaone4": Family(
        more_decoders.exaone4,
        variants={
            "tied": {"tied": True},
            "32b": {
                **{"n_layer": 64, "n_embd": 64, "n_ff": 64, "n_head": 2, "n_head_kv": 1, "head_dim": 32, "window": 12},
                "keys": {"rope.freq_base_swa": 100.0},
            },
        },
        ignored=frozenset({"rope.freq_base_swa"}),
    ),
    "seed_oss": Family(more_decoders.seed_oss, Shape(head_dim=128), variants={"tied": {"tied": True}}),
    "ernie4_5": Family(more_decoders.ernie4_5, Shape(head_dim=128), variants={"tied": {"tied": True, "bias": True}}),
    "hunyuan-dense": Family(more_decoders.hunyuan_dense, variants={"tied": {"tied": True, "alpha": 0.0}}),
    "arcee": Family(more_decoders.arcee, gated=False, variants={"tied": {"tied": True, "rope_freqs": True}}),
    "apertus": Family(more_decoders.apertus, gated=False, variants={"biases": {"bias": True, "longrope": True}}),
    "glm4moe": Family(
        shared_experts.glm4moe,
        variants={
            "air": {"norms": False, "tied": True, "keys": {"expert_gating_func": None, "expert_weights_norm": None}},
            "layer ahead": {"ahead": True},
        },
    ),
    "dots1": Family(shared_experts.dots1, Shape(n_head_kv=4), variants={"softmax": {"gating": 1, "dense": 0}}),
    "bailingmoe2": Family(
        shared_experts.bailingmoe2,
        variants={
            "groups": {"used": 2, "shared": 1, "keys": {"expert_group_count": 4, "expert_group_used_count": 2}},
        },
    ),
    "minimax-m2": Family(shared_experts.minimax_m2, Shape(n_ff=128), sizes=OTHER_SIZES),
    "ernie4_5-moe": Family(
        shared_experts.ernie4_5_moe,
        Shape(head_dim=128),
        variants={"tied": {"tied": True, "shared": 0, "bias": True}},
    ),
    "hunyuan-moe": Family(
        shared_experts.hunyuan_moe,
        Shape(n_ff=128),
        variants={"tied": {"tied": True, "shared": 0}},
        sizes=OTHER_SIZES,
    ),
    "llama4": Family(
        shared_experts.llama4,
        Shape(n_layer=4),  # the fourth layer is the first without RoPE
        variants={
            "maverick": {
                "experts": 128,
                "used": 1,
                "n_ff_expert": 32,
                "step": 1,
                "keys": {"rope.freq_base_swa": 300.0},
            },
            "pattern": {"keys": {"attention.sliding_window_pattern": 2, "rope.freq_base_swa": 300.0}},
        },
    ),
    "deepseek2": Family(
        shared_experts.deepseek2,
        Shape(n_head_kv=4),
        variants={
            "one tensor for k and v": {
                "split": False,
                "tied": True,
                "keys": {"rope.scaling.yarn_log_multiplier": None},
            },
            "v2, v3": {
                "gating": 1,
                "norm": False,
                "bias": False,
                "used": 2,
                "keys": {
                    "expert_group_count": 4,
                    "expert_group_used_count": 2,
                    "rope.scaling.yarn_log_multiplier": 0.1,
                },
            },
            "temperature": {"temperature": 0.1, "yarn": False, "fused": True, "keys": {"rope.scaling.factor": 4.0}},
            "lite": {
                **{"n_layer": 26, "n_embd": 64, "n_ff": 64, "n_head": 2, "n_head_kv": 2, "head_dim": 32},
                **{"q_rank": None, "kv_rank": 32, "n_rot": 16, "value_dim": 32, "size": 6.0},
                **{"experts": 4, "used": 2, "n_ff_expert": 32, "gating": 1, "scale": 1.0, "norm": False, "bias": False},
            },
        },
    ),
    "gpt-oss": Family(mixtures.gpt_oss, variants={"no yarn": {"yarn": False, "keys": {"rope.freq_base_swa": 300.0}}}),
    "command-r": Family(
        classics.command_r,
        variants={
            "scaled": {"keys": {"logit_scale": None, "rope.scaling.factor": 8.0}},
            # llama.cpp knows Command R+ by its layers
            "plus": {"n_layer": 64, "n_embd": 64, "n_ff": 64, "n_head": 2, "n_head_kv": 1, "head_dim": 32},
        },
    ),
    "cohere2": Family(
        classics.cohere2,
        Shape(n_layer=4),  # the fourth layer is the first global one
        variants={
            "pattern": {"keys": {"attention.sliding_window_pattern": 2, "rope.freq_base_swa": 300.0}},
            "yarn": {"keys": YARN},
        },
        ignored=frozenset({"rope.freq_base_swa"}),
    ),
    "starcoder2": Family(
        classics.starcoder2,
        variants={"tied": {"tied": True}},
        gated=False,
    ),
    "gpt2": Family(
        classics.gpt2,
        Shape(n_head_kv=4, n_ctx=256),
        variants={"tied": {"tied": True}},
        gated=False,
    ),
    "starcoder": Family(
        classics.gpt2,
        Shape(n_head_kv=1, n_ctx=256),
        variants={"tied": {"tied": True}},
        gated=False,
    ),
    "phi2": Family(classics.phi2, Shape(n_head_kv=4), variants={"fused": {"fused": True, "n_head_kv": 2}}, gated=False),
    "gptneox": Family(
        classics.gptneox,
        Shape(n_head_kv=4),
        variants={"sequential": {"parallel": False, "n_rot": 64}},
        gated=False,
    ),
    "falcon": Family(
        classics.falcon, Shape(n_head_kv=1), variants={"40b": {"norms": 2, "n_head_kv": 2, "tied": True}}, gated=False
    ),
    "stablelm": Family(
        classics.stablelm,
        Shape(n_head_kv=4),
        variants={"biases": {"bias": True, "n_rot": 64}, "12b": {"parallel": True, "n_head_kv": 1}},
    ),
    "glm4": Family(
        classics.glm4,
        variants={
            "tied": {"tied": True, "bias": False, "keys": {"rope.dimension_count": 64}},
            "sections": {"keys": {"rope.dimension_sections": [8, 4, 4, 0]}},
        },
    ),
    "internlm2": Family(classics.internlm2, variants={"biases": {"bias": True}}),
    "nemotron": Family(classics.nemotron, variants={"biases": {"bias": True, "n_rot": 64}}, gated=False),
    "bloom": Family(
        classics.bloom,
        Shape(n_head_kv=4),
        variants={"six heads": {"n_head": 6, "n_head_kv": 6, "n_embd": 192, "head_dim": 32, "tied": True}},
        gated=False,
    ),
    "mpt": Family(
        classics.mpt,
        Shape(n_head_kv=4, n_ctx=256),
        variants={
            "positions": {"positions": True, "max_alibi_bias": 0.0, "clamp": 0.0, "bias": True, "tied": True},
            "biases": {"bias": True, "max_alibi_bias": 16.0, "clamp": 2.0},
        },
        gated=False,
    ),
    "codeshell": Family(
        classics.codeshell,
        variants={"one matrix": {"embeddings": False}, "apart": {"fused": False, "n_head_kv": 4}},
        gated=False,
    ),
    "orion": Family(classics.orion, Shape(n_head_kv=4)),
    "plamo": Family(classics.plamo, Shape(n_head_kv=1)),
    "lfm2": Family(
        recurrent.lfm2,
        Shape(n_layer=3),
        variants={"window": {"window": 7}},
        attends=1,
    ),
    "lfm2moe": Family(
        partial(recurrent.lfm2, experts=4),
        Shape(n_layer=3),
        variants={"softmax": {"gating": 1, "lead": 0}},
        attends=1,
    ),
    "mamba2": Family(
        recurrent.mamba2,
        Shape(n_layer=3),
        variants={"tied": {"tied": True}},
        gated=False,
        attends=0,
        sizes=SSM_SIZES,
    ),
    "granitehybrid": Family(
        recurrent.granitehybrid,
        Shape(n_layer=3),
        variants={
            "biases": {"bias": True, "tied": False},
            "no positions": {"finetuned": False},
            "experts": {"experts": 4, "shared": 256},
            "plain multipliers": {
                "size": 1.0,
                "tied": False,
                "keys": {"embedding_scale": None, "residual_scale": None, "attention.scale": None, "logit_scale": None},
            },
        },
        attends=1,
    ),
    "nemotron_h": Family(
        recurrent.nemotron_h,
        Shape(n_layer=4),
        variants={"biases": {"bias": True}, "one epsilon": {"eps": None}},
        ignored=frozenset({"attention.layer_norm_epsilon"}),
        gated=False,
        state="nemotron_h_block_out",
        attends=1,
    ),
    "nemotron_h_moe": Family(
        partial(recurrent.nemotron_h, experts=4),
        Shape(n_layer=4),
        variants={"size left out": {"sizes": False, "eps": None}},
        ignored=frozenset({"attention.layer_norm_epsilon"}),
        gated=False,
        state="nemotron_h_block_out",
        attends=1,
    ),
    "falcon-h1": Family(
        recurrent.falcon_h1,
        variants={"norm": {"norm": True, "tied": True}, "biases": {"bias": True}},
    ),
    "mamba": Family(
        recurrent.mamba,
        Shape(n_layer=3),
        variants={"falcon": {"normalised": True, "tied": True}},
        gated=False,
        steps=2,
        attends=0,
        sizes=SSM_SIZES,
    ),
    "jamba": Family(recurrent.jamba, Shape(n_layer=3), variants={"experts": {"experts": 4}}, attends=1),
    "plamo2": Family(
        recurrent.plamo2, Shape(n_layer=3), variants={"tied": {"tied": True}}, state="ffn_residual", attends=1
    ),
    "qwen3next": Family(
        recurrent.qwen3next,
        Shape(n_layer=3),
        variants={
            "layers named": {"recurrent": True, "sizes": False},
            "early": {"early": True},
            "period left out": {"interval": None, "tied": True, "n_layer": 4},
        },
        attends=1,
    ),
    "qwen35": Family(
        partial(recurrent.qwen3next, experts=0),
        Shape(n_layer=3),
        variants={"tied": {"tied": True}},
        attends=1,
    ),
    "qwen35moe": Family(
        recurrent.qwen3next,
        Shape(n_layer=3),
        variants={"sizes left out": {"sizes": False}},
        attends=1,
    ),
    "rwkv7": Family(
        rwkv.rwkv7,
        Shape(n_layer=3),
        variants={"large heads": {"head_dim": 128}, "one layer": {"n_layer": 1}},
        gated=False,
        steps=4,
        attends=0,
        sizes=RWKV7_SIZES,
    ),
    "arwkv7": Family(
        rwkv.arwkv7,
        Shape(n_layer=3),
        variants={"no gate, no norm": {"gate": False, "norm": False}},
        steps=4,
        attends=0,
        sizes=RWKV7_SIZES,
    ),
    "rwkv6": Family(
        rwkv.rwkv6,
        Shape(n_layer=3),
        variants={"early": {"fused": False, "keys": {"rescale_every_n_layers": None}}},
        gated=False,
        steps=4,
        attends=0,
        sizes=RWKV6_SIZES,
    ),
    "rwkv6qwen2": Family(
        rwkv.rwkv6qwen2,
        Shape(n_layer=3),
        variants={"own keys": {"n_head_kv": 0, "bias": False}},
        ignored=frozenset({"rescale_every_n_layers"}),
        steps=4,
        attends=0,
        sizes=RWKV6_SIZES,
    ),
    "qwen2vl": Family(relatives.qwen2vl, ignored=frozenset({"attention.layer_norm_rms_epsilon"})),
    "qwen3vl": Family(
        relatives.qwen3vl,
        Shape(head_dim=128),
        variants={"tied": {"tied": True}},
        ignored=frozenset({"n_deepstack_layers"}),
    ),
    "qwen3vlmoe": Family(
        relatives.qwen3vlmoe, Shape(n_ff=768, head_dim=128), ignored=frozenset({"n_deepstack_layers"})
    ),
    "hunyuan_vl": Family(relatives.hunyuan_vl, variants={"no sections": {"sections": False}}),
    "paddleocr": Family(relatives.paddleocr, variants={"biases": {"bias": True}}),
    "cogvlm": Family(relatives.cogvlm, Shape(n_head_kv=4), ignored=frozenset({"rope.freq_base"}), idle=VISION),
    "mistral4": Family(
        partial(shared_experts.deepseek2, temperature=0.1), Shape(n_head_kv=4), variants={"apart": {"q_rank": 0}}
    ),
    "deepseek2-ocr": Family(
        partial(shared_experts.deepseek, gating=1, bias=False),
        Shape(n_head_kv=4),
        variants={"biased choice": {"gating": 2, "bias": True, "keys": {"expert_weights_norm": None}}},
    ),
    "phimoe": Family(relatives.phimoe, variants={"4k": {"longrope": False}}),
    "minicpm": Family(
        relatives.minicpm,
        variants={"multipliers left out": {"multipliers": False, "biases": True}, "longrope": {"longrope": True}},
    ),
    "qwen": Family(relatives.qwen, Shape(n_head_kv=4)),
    "chatglm": Family(relatives.chatglm, variants={"tied": {"tied": True}}),
    "baichuan": Family(
        relatives.baichuan,
        Shape(n_head_kv=4),
        variants={
            # llama.cpp knows the 7B and the 13B by their layers
            "7b": {"n_layer": 32, **NARROW},
            "13b": {"n_layer": 40, **NARROW},
        },
    ),
    "refact": Family(
        relatives.refact,
        Shape(n_head_kv=1),
        variants={"biases": {"bias": True}},
        # without rotations a key's bias adds as much to every score of a query; llama.cpp does not add the others
        idle=tuple(
            f"blk.{i}.{name}.bias"
            for i in range(2)
            for name in ("attn_k", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        ),
    ),
    "xverse": Family(relatives.decoder, Shape(n_head_kv=4)),
    "bitnet": Family(relatives.bitnet, Shape(n_head_kv=4)),
    "openelm": Family(relatives.openelm),
    "olmo": Family(classics.olmo, Shape(n_head_kv=4)),
    "dbrx": Family(classics.dbrx),
    "minicpm3": Family(shared_experts.minicpm3, Shape(n_head_kv=4), variants={"plain": {"longrope": False}}),
    "plm": Family(shared_experts.plm, Shape(n_head_kv=4), gated=False),
    "mellum": Family(
        relatives.mellum,
        Shape(n_layer=4, n_ff=768),  # the fourth layer is the first global one
        variants={"no window": {"window": 0}},
    ),
    "afmoe": Family(
        shared_experts.afmoe,
        Shape(n_layer=4),
        variants={"pattern": {"keys": {"attention.sliding_window_pattern": 2, "rope.freq_base_swa": 300.0}}},
    ),
    "deepseek": Family(partial(shared_experts.deepseek, norm=False, bias=False), Shape(n_head_kv=4)),
    "bailingmoe": Family(
        partial(shared_experts.deepseek, bias=False, dense=0),
        ignored=frozenset({"leading_dense_block_count"}),
        sizes=OTHER_SIZES,
    ),
    "exaone-moe": Family(partial(shared_experts.exaone_moe, shared=1), Shape(n_layer=4)),
    "smallthinker": Family(
        relatives.smallthinker,
        Shape(n_layer=3),
        variants={"no window": {"window": 0, "gating": 1}},
        ignored=frozenset({"attention.sliding_window"}),
        sizes=OTHER_SIZES,
    ),
    "arctic": Family(relatives.arctic),
    "grovemoe": Family(
        mixtures.grovemoe, Shape(n_ff=768, head_dim=128), variants={"size left out": {"n_ff_common": 0}}
    ),
    "grok": Family(
        relatives.grok,
        variants={"1": {"dense": False, "given": False}},
        ignored=frozenset(
            {"attention.temperature_length", "router_logit_softcapping", "rope.scaling.yarn_attn_factor"}
        ),
    ),
    "deci": Family(relatives.deci, Shape(n_layer=3), steps=2, attends=1),
    "jais": Family(windowed.jais, Shape(n_head_kv=4)),
    "jais2": Family(windowed.jais2, gated=False, variants={"tied": {"tied": True}}),
    "nanbeige": Family(
        windowed.nanbeige,
        variants={"two passes": {"loops": 2}, "no norm between": {"loops": 2, "skip": True, "tied": True}},
    ),
    "maincoder": Family(windowed.maincoder, variants={"tied": {"tied": True}}),
    "pangu-embedded": Family(windowed.pangu_embedded, variants={"tied": {"tied": True}}),
    "plamo3": Family(
        windowed.plamo3,
        normalised="",
        variants={
            "window": {"window": 12, "keys": {"attention.sliding_window_pattern": 2, "rope.scaling.factor": 4.0}},
            "base": {"window": 12, "base": 300.0, "tied": True},
        },
    ),
    "granite_swa": Family(
        windowed.granite_swa,
        variants={"experts": {"experts": 4, "shared": 128, "plain": True}},
    ),
    "graniteswitch": Family(
        relatives.granite_switch,
        attends=3,  # one more than layers, which chooses the adapters
        variants={
            "an adapter before any": {"idle": False, "tied": True},
            "half-way": {"tokens": (201, 287, 300, 301), "gain": None, "finetuned": False},  # the mean of 1 and 2
            "weak": {"tokens": (201, 267, 287, 44), "gain": 1.0},
        },
    ),
    "cohere2moe": Family(
        windowed.cohere2moe,
        Shape(n_layer=5),  # the first and the fifth layer are global ones, of which the dense one rotates
        variants={"rms": {"rms": True, "n_layer": 2, "shared": 0, "dense": 0}},
    ),
    "laguna": Family(
        windowed.laguna,
        variants={
            "m": {"window": 0, "per_head": False, "count": 2},
            "base left out": {"keys": {"rope.freq_base_swa": None, "rope.dimension_count_swa": None}},
        },
    ),
    "muse-glimmer": Family(
        windowed.muse_glimmer, Shape(n_layer=4), variants={"base": {"keys": {"rope.freq_base_swa": 300.0}}}
    ),
    "spark2_5": Family(windowed.spark2_5, variants={"tied": {"tied": True, "base": None}}),
    "talkie": Family(windowed.talkie),
    "step35": Family(
        windowed.step35,
        Shape(n_layer=3),
        state="attn_norm_in",
        variants={"plain": {"limits": False, "norms": False, "gates": False}},
    ),
    "mimo2": Family(
        windowed.mimo2, Shape(n_layer=2), variants={"fused": {"sinks": False, "fused": True, "base": None}}
    ),
    "hy_v3": Family(windowed.hy_v3, variants={"tied": {"tied": True, "shared": 0, "fused": True}}),
    "deepseek32": Family(latent.deepseek32, Shape(n_head_kv=4), variants={"tied": {"tied": True, "yarn": False}}),
    "glm-dsa": Family(
        partial(latent.deepseek32, yarn=False),
        Shape(n_head_kv=4),
        variants={
            "layers named": {"n_layer": 3, "types": [True, False, True]},
            "5.2": {
                **{"n_layer": 4, "n_ctx": 1 << 20, "owners": [True, True, True, False]},
                "keys": {"expert_gating_func": None},
            },
        },
    ),
    "dots3note": Family(latent.dots3note, Shape(n_head_kv=4), sizes=latent.SIZES),
    "kimi-linear": Family(latent.kimi_linear, attends=1, variants={"no dense layer": {"dense": 0, "shared": 1}}),
    "bailingmoe3": Family(
        partial(latent.kimi_linear, bounded=True),
        attends=1,
        variants={"limits": {"limits": True, "q_rank": 96, "keys": {"expert_shared_feed_forward_length": 192}}},
    ),
    "minimax-01": Family(
        latent.minimax_01,
        Shape(n_layer=3, n_ff=256),
        attends=1,
        variants={"layers named": {"named": True, "tied": True}},
    ),
    "minimax-m3": Family(
        latent.minimax_m3,
        ignored=frozenset({f"attention.indexer.{x}" for x in ("top_k", "block_size", "local_blocks")}),
        idle=("blk.1.indexer.",),
    ),
    "hy_v4": Family(
        planes.hy_v4,
        Shape(n_head_kv=4),
        variants={"indexer": {"types": [True, False], "limits": False, "planes": 3, "dense": 0}},
        sizes=latent.SIZES,
    ),
    "kimi-k3": Family(
        planes.kimi_k3,
        Shape(n_layer=3),
        attends=1,
        variants={
            "normalised experts": {"norm": True},
            "nothing kept": {"period": 0, "bound": None, "q_rank": 0, "gated": False, "m": 0, "linear_beta": 0.0},
        },
    ),
    "qwen4exp": Family(
        planes.qwen4exp,
        Shape(n_layer=3),
        attends=1,
        state="l_last",
        variants={
            "n-grams first": {"ngrams": 0, "tables": True, "blocks_of": 3, "planes": 2, "tied": True, "heads": 1},
            "everything is read": {"ngrams": None, "blocks_of": 0},
        },
        ignored=frozenset({"ple.image_token_id"}),
    ),
    "glm5-next": Family(
        planes.glm5_next,
        attends=1,
        variants={
            "unbounded": {
                "bound": None,
                "shared_limits": False,
                "n_layer": 3,
                "types": [False, True, False],
                "seed": 1,  # with 0 a step of 1e-5 changes what an indexer or a router chooses
            },
        },
        sizes=latent.SIZES,
    ),
    "deepseek4": Family(
        planes.deepseek4,
        state="l_last",
        variants={
            "later blocks": {
                **{"ratios": (0, 4, 0), "ahead": True, "hashed": 0, "used": 2, "norm": False},
                **{"yarn": False, "shared_limits": False},
            },
        },
        sizes=latent.SIZES,
    ),
}


def make(
    family: str,
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    keys: Mapping[str, Value | None] | None = None,
    texts: Mapping[str, str] | None = None,
    packed: Mapping[str, str] | None = None,
    shaped: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None,
    **overrides: Any,
) -> Path:
    """Write a tiny model of a family (a key of FAMILIES, and the architecture's name) and return its path.

    keys: keys of the architecture to set, or to leave out (None); texts: keys without one. packed: the types of tensors
    that are not to be float32, by name. shaped: see Tiny.reshape. overrides: sizes (the fields of Shape) and the
    family's own variants (the keyword arguments of its function); TypeError for anything else.
    """
    known = FAMILIES[family]
    sizes = {f.name: overrides.pop(f.name) for f in fields(Shape) if f.name in overrides}
    tiny = Tiny(family, replace(known.shape, **sizes), seed)
    known.fill(tiny, **overrides)
    for key, value in (keys or {}).items():
        tiny.kv(key, value)
    for key, text in (texts or {}).items():
        tiny.raw(key, text)
    for name, kind in (packed or {}).items():
        tiny.pack(name, kind)
    if shaped is not None:
        tiny.reshape(shaped)
    return tiny.write(Path(path))
