"""Tensor types that ggufjac does not read: whose they are, and what their owner can do.

The numbers are those of ggml's `ggml_type` and of the forks' own.
"""

from __future__ import annotations

from ggufjac.reader.types import GGMLType

#: Types that llama.cpp has dropped, with what it tells their owners to do.
_RETIRED = {
    4: "Q4_2, which llama.cpp dropped",
    5: "Q4_3, which llama.cpp dropped",
    31: "Q4_0_4_4, which llama.cpp dropped in favour of Q4_0",
    32: "Q4_0_4_8, which llama.cpp dropped in favour of Q4_0",
    33: "Q4_0_8_8, which llama.cpp dropped in favour of Q4_0",
    36: "IQ4_NL_4_4, which llama.cpp dropped in favour of IQ4_NL (or I2_S of bitnet.cpp)",
    37: "IQ4_NL_4_8, which llama.cpp dropped in favour of IQ4_NL",
    38: "IQ4_NL_8_8, which llama.cpp dropped in favour of IQ4_NL",
}

#: Types that ggml knows and that no file of weights has.
_ACTIVATIONS = {9: "Q8_1", 15: "Q8_K"}

#: ik_llama.cpp's own; those of 200 and more are rows of the type that is 200 less, several of them interleaved.
_IK_LLAMA = {
    97: "Q8_0_X4",
    98: "Q8_1_X4",
    99: "Q8_2_X4",
    133: "Q6_0",
    134: "IQ1_BN",
    135: "IQ2_BN",
    136: "Q8_K64",
    137: "IQ2_K",
    138: "IQ3_K",
    139: "IQ4_K",
    140: "IQ5_K",
    141: "IQ6_K",
    144: "IQ4_KS",
    145: "IQ2_KS",
    146: "IQ4_KSS",
    147: "Q8_K16",
    148: "Q8_K32",
    149: "Q8_KR8",
    150: "Q8_K128",
    151: "Q8_KV",
    152: "IQ5_KS",
    153: "IQ2_KT",
    154: "IQ3_KT",
    155: "IQ4_KT",
    156: "IQ3_KS",
    157: "IQ2_KL",
    158: "IQ1_KT",
}
_INTERLEAVED = 200

#: The types of PrismML's fork: weights in groups of 128.
_PRISM = {142: "PQ2_0", 143: "PTQ1_0"}

#: Architectures of bitnet.cpp's models.
_BITNET = ("bitnet", "bitnet-25", "bitnet-b1.58")


def describe(number: int, architecture: str) -> str:
    """Whose type this number is, and what would work, in a model of that architecture ("" if it says none)."""
    if number == 4 and architecture == "gptoss":
        return (
            "MXFP4 by the number that Ollama's own gpt-oss gives it; the file of ggml-org/gpt-oss-20b-GGUF (or 120b) "
            "is the same model as llama.cpp reads it"
        )
    if 36 <= number <= 39 and architecture in _BITNET:
        return (
            "one of bitnet.cpp's (I2_S, TL1, TL2), which llama.cpp cannot read either; a conversion of the same "
            "model to TQ2_0 or TQ1_0 works there"
        )
    if number in _RETIRED:
        return f"{_RETIRED[number]}; download a newer conversion of the model"
    if number in _ACTIVATIONS:
        return f"{_ACTIVATIONS[number]}, which holds intermediate values and no weights; the file is damaged"
    if number in _PRISM:
        return (
            f"{_PRISM[number]} of the fork PrismML-Eng/llama.cpp, which llama.cpp cannot read either; take a "
            "conversion of the same model to a type of llama.cpp"
        )
    ours = _ik_llama(number)
    if ours is not None:
        return (
            f"{ours} of the fork ik_llama.cpp, which llama.cpp cannot read either; take a conversion of the same model "
            "to a type of llama.cpp"
        )
    known = ", ".join(kind.name for kind in GGMLType)
    return f"unknown; the known types are {known}"


def _ik_llama(number: int) -> str | None:
    if number in _IK_LLAMA:
        return _IK_LLAMA[number]
    base = number - _INTERLEAVED
    if base in _IK_LLAMA:
        return f"{_IK_LLAMA[base]} with interleaved rows"
    return f"{GGMLType(base).name} with interleaved rows" if base in list(GGMLType) else None
