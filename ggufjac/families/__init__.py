"""The architectures that ggufjac can analyse, and the way from a file to its family."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ggufjac.errors import UserError
from ggufjac.families.afmoe import AfMoE
from ggufjac.families.apertus import Apertus
from ggufjac.families.arcee import Arcee
from ggufjac.families.arctic import Arctic
from ggufjac.families.baichuan import Baichuan
from ggufjac.families.bailingmoe import BailingMoE
from ggufjac.families.bailingmoe2 import BailingMoE2
from ggufjac.families.bailingmoe3 import BailingMoE3
from ggufjac.families.bases.base import Family
from ggufjac.families.bases.source import Source
from ggufjac.families.bitnet import BitNet
from ggufjac.families.bloom import Bloom
from ggufjac.families.chatglm import ChatGLM
from ggufjac.families.codeshell import CodeShell
from ggufjac.families.cogvlm import CogVLM
from ggufjac.families.cohere import Cohere2, CommandR
from ggufjac.families.cohere2moe import Cohere2MoE
from ggufjac.families.dbrx import DBRX
from ggufjac.families.deci import Deci
from ggufjac.families.deepseek import DeepSeek
from ggufjac.families.deepseek2 import DeepSeek2, Mistral4
from ggufjac.families.deepseek2_ocr import DeepSeek2OCR
from ggufjac.families.deepseek4 import DeepSeek4
from ggufjac.families.deepseek32 import DeepSeek32, GlmDSA
from ggufjac.families.dots1 import Dots1
from ggufjac.families.dots3note import Dots3Note
from ggufjac.families.ernie4_5 import Ernie4_5, Ernie4_5MoE
from ggufjac.families.exaone import Exaone, Exaone4
from ggufjac.families.exaone_moe import ExaoneMoE
from ggufjac.families.falcon import Falcon
from ggufjac.families.falcon_h1 import FalconH1
from ggufjac.families.gemma import Gemma
from ggufjac.families.gemma2 import Gemma2
from ggufjac.families.gemma3 import Gemma3
from ggufjac.families.gemma3n import Gemma3n
from ggufjac.families.gemma4 import Gemma4
from ggufjac.families.glm4 import GLM4
from ggufjac.families.glm4moe import Glm4MoE
from ggufjac.families.glm5_next import Glm5Next
from ggufjac.families.gpt2 import GPT2
from ggufjac.families.gpt_oss import GptOss
from ggufjac.families.gptneox import GPTNeoX
from ggufjac.families.granite import Granite
from ggufjac.families.granite_hybrid import GraniteHybrid
from ggufjac.families.granite_swa import GraniteSWA
from ggufjac.families.granite_switch import GraniteSwitch
from ggufjac.families.grok import Grok
from ggufjac.families.grovemoe import GroveMoE
from ggufjac.families.hunyuan import HunyuanDense, HunyuanMoE, HunyuanVL
from ggufjac.families.hy_v3 import HyV3
from ggufjac.families.hy_v4 import HyV4
from ggufjac.families.internlm2 import InternLM2
from ggufjac.families.jais import Jais, Jais2
from ggufjac.families.jamba import Jamba
from ggufjac.families.kimi_k3 import KimiK3
from ggufjac.families.kimi_linear import KimiLinear
from ggufjac.families.laguna import Laguna
from ggufjac.families.lfm2 import LFM2
from ggufjac.families.llama import Llama
from ggufjac.families.llama4 import Llama4
from ggufjac.families.maincoder import Maincoder
from ggufjac.families.mamba import Mamba, Mamba2
from ggufjac.families.mellum import Mellum
from ggufjac.families.mimo2 import MiMo2
from ggufjac.families.minicpm import MiniCPM
from ggufjac.families.minicpm3 import MiniCPM3
from ggufjac.families.minimax_01 import MiniMax01
from ggufjac.families.minimax_m2 import MiniMaxM2
from ggufjac.families.minimax_m3 import MiniMaxM3
from ggufjac.families.mistral3 import Mistral3
from ggufjac.families.mpt import MPT
from ggufjac.families.muse_glimmer import MuseGlimmer
from ggufjac.families.nanbeige import Nanbeige
from ggufjac.families.nemotron import Nemotron
from ggufjac.families.nemotron_h import NemotronH
from ggufjac.families.olmo import Olmo
from ggufjac.families.olmo2 import Olmo2
from ggufjac.families.olmoe import Olmoe
from ggufjac.families.openelm import OpenELM
from ggufjac.families.orion import Orion
from ggufjac.families.paddleocr import PaddleOCR
from ggufjac.families.pangu_embedded import PanguEmbedded
from ggufjac.families.phi2 import Phi2
from ggufjac.families.phi3 import Phi3
from ggufjac.families.phimoe import PhiMoE
from ggufjac.families.plamo import Plamo
from ggufjac.families.plamo2 import Plamo2
from ggufjac.families.plamo3 import Plamo3
from ggufjac.families.plm import PLM
from ggufjac.families.qwen import Qwen, Qwen2, Qwen2MoE, Qwen3, Qwen3MoE
from ggufjac.families.qwen3next import Qwen3Next, Qwen35, Qwen35MoE
from ggufjac.families.qwen4exp import Qwen4Exp
from ggufjac.families.qwen_vl import Qwen2VL, Qwen3VL, Qwen3VLMoE
from ggufjac.families.refact import Refact
from ggufjac.families.rwkv6 import RWKV6, RWKV6Qwen2
from ggufjac.families.rwkv7 import ARWKV7, RWKV7
from ggufjac.families.seed_oss import SeedOss
from ggufjac.families.smallthinker import SmallThinker
from ggufjac.families.smollm3 import SmolLM3
from ggufjac.families.spark2_5 import Spark2_5
from ggufjac.families.stablelm import StableLM
from ggufjac.families.starcoder2 import StarCoder2
from ggufjac.families.step35 import Step35
from ggufjac.families.talkie import Talkie
from ggufjac.families.xverse import Xverse
from ggufjac.reader.cursor import show
from ggufjac.reader.kinds import ollamas_own, other_kind, pooled

if TYPE_CHECKING:
    from ggufjac.reader import GGUFFile

FAMILIES: tuple[type[Family], ...] = (
    Llama,
    Mistral3,
    Qwen2,
    Qwen2MoE,
    Qwen3,
    Qwen3MoE,
    Gemma,
    Gemma2,
    Gemma3,
    Gemma3n,
    Phi3,
    Olmo2,
    Olmoe,
    Granite,
    SmolLM3,
    GptOss,
    LFM2,
    Mamba,
    Mamba2,
    GraniteHybrid,
    NemotronH,
    FalconH1,
    Jamba,
    Qwen3Next,
    Qwen35,
    Qwen35MoE,
    Plamo2,
    RWKV7,
    ARWKV7,
    RWKV6,
    RWKV6Qwen2,
    DeepSeek2,
    Glm4MoE,
    Dots1,
    BailingMoE2,
    MiniMaxM2,
    Llama4,
    Gemma4,
    Exaone,
    Exaone4,
    SeedOss,
    Ernie4_5,
    Ernie4_5MoE,
    HunyuanDense,
    HunyuanMoE,
    Arcee,
    Apertus,
    CommandR,
    Cohere2,
    StarCoder2,
    GPT2,
    Phi2,
    GPTNeoX,
    Falcon,
    StableLM,
    GLM4,
    InternLM2,
    Nemotron,
    Bloom,
    MPT,
    CodeShell,
    Orion,
    Plamo,
    Qwen2VL,
    Qwen3VL,
    Qwen3VLMoE,
    HunyuanVL,
    PaddleOCR,
    CogVLM,
    Mistral4,
    DeepSeek2OCR,
    PhiMoE,
    MiniCPM,
    Deci,
    Qwen,
    ChatGLM,
    Baichuan,
    Refact,
    Xverse,
    BitNet,
    OpenELM,
    Olmo,
    DBRX,
    MiniCPM3,
    PLM,
    Mellum,
    AfMoE,
    DeepSeek,
    BailingMoE,
    ExaoneMoE,
    SmallThinker,
    Arctic,
    GroveMoE,
    Grok,
    Jais,
    Jais2,
    Nanbeige,
    Maincoder,
    PanguEmbedded,
    Plamo3,
    GraniteSWA,
    GraniteSwitch,
    Cohere2MoE,
    Laguna,
    MuseGlimmer,
    Spark2_5,
    Talkie,
    Step35,
    MiMo2,
    HyV3,
    DeepSeek32,
    GlmDSA,
    KimiLinear,
    BailingMoE3,
    Dots3Note,
    MiniMax01,
    MiniMaxM3,
    HyV4,
    KimiK3,
    Glm5Next,
    DeepSeek4,
    Qwen4Exp,
)

ARCHITECTURES: dict[str, type[Family]] = {name: family for family in FAMILIES for name in family.architectures}


def family_of(file: GGUFFile) -> Family:
    """The family of an open file, read and checked.

    Raises UserError for a file that is no language model, and for an architecture that is not supported.
    """
    other = other_kind(file)
    if other is not None:
        raise UserError(f"{file.path}: this is {other}")
    name = file.architecture
    if name not in ARCHITECTURES:
        raise UserError(f"{file.path}: {_unsupported(name)}")
    source = Source(file)
    if note := pooled(file):
        source.note(note)
    return ARCHITECTURES[name](source)


def _unsupported(name: str) -> str:
    if not name:
        return "general.architecture is empty, so that nobody can tell what model this is; download another conversion"
    theirs = ollamas_own(name)
    if theirs is not None:
        return (
            f"the architecture {show(name)!r} is Ollama's own form of {theirs}, which llama.cpp cannot read either; "
            "take the model's GGUF file for llama.cpp, from Hugging Face"
        )
    close = difflib.get_close_matches(name, ARCHITECTURES, 1)
    hint = f" (is it a kind of {close[0]}?)" if close else ""
    known = ", ".join(sorted(ARCHITECTURES))
    return f"the architecture {show(name)!r} is not supported{hint}; supported are: {known}"


__all__ = ["ARCHITECTURES", "FAMILIES", "Family", "family_of"]
