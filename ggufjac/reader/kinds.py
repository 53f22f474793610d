"""What a GGUF file is that is no model which predicts a next token: what goes with one, and models of other kinds.

Told from what the file says of itself (`general.type`, its architecture) and, where it says nothing, from the names of
its tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ggufjac.reader.file import GGUFFile

_ENCODER = (
    "an embedding model: it turns a text into one vector and predicts no next token, which is what is explained here"
)
_ENCODER_DECODER = "an encoder and a decoder; only models that predict the next token of one text can be analysed"
_SPEECH = "a model of speech, not one of text"
_IMAGES = "a diffusion model, which makes images or videos and predicts no tokens"
_MASKED = (
    "a diffusion model of text: it fills in masked tokens in any order, and has no next token that could be explained"
)
_PROJECTOR = "a projector of images or sounds (mmproj); the language model that it belongs to is another file beside it"
_CONTROL = "a control vector, as `ggufjac steer` writes them; it is added to a model while that runs"
_MATRIX = "an importance matrix, made for quantising a model; the model itself is another file"
_VOCABULARY = "a vocabulary alone, without weights"
_DRAFT = "a draft model's head, which guesses ahead for another model and does nothing without it"
_RANKER = "a model that rates texts (a reranker or classifier): in place of logits of tokens it has scores"
_BOTH_WAYS = "an embedding model, or one that fills in masked tokens: no text has a next token that could be explained"

_ARCHITECTURES = {
    **dict.fromkeys(("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert"), _ENCODER),
    **dict.fromkeys(
        ("jina-bert-v2", "jina-bert-v3", "gemma-embedding", "t5encoder", "llama-embed", "lfm2-bidir"), _ENCODER
    ),
    "t5": _ENCODER_DECODER,
    **dict.fromkeys(("wavtokenizer-dec", "whisper", "kokoro", "parler-tts", "dia"), _SPEECH),
    **dict.fromkeys(("flux", "sd1", "sdxl", "sd3", "aura", "ltxv", "hyvid", "wan", "hidream", "cosmos"), _IMAGES),
    **dict.fromkeys(("lumina2", "qwen_image", "pig"), _IMAGES),
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), _MASKED),
    "clip": _PROJECTOR,
    "controlvector": _CONTROL,
    **dict.fromkeys(("eagle3", "dflash"), _DRAFT),
}

#: What `general.type` says of files that are no models; an adapter is told more about below.
_TYPES = {"mmproj": _PROJECTOR, "imatrix": _MATRIX, "vocab": _VOCABULARY}

#: How tensors are called in files that say nothing of themselves; the first that all or any of them fit.
_TENSORS = (
    (re.compile(r"direction\.\d+$"), _CONTROL),
    (re.compile(r".*\.(in_sum2|in_sum|counts)$"), _MATRIX),
    (re.compile(r"(model\.diffusion_model|double_blocks|joint_blocks|input_blocks|transformer_blocks)\."), _IMAGES),
    (re.compile(r"(cls|classifier)\."), _RANKER),
    (re.compile(r"enc\.blk\."), _ENCODER_DECODER),
)
#: What language models that were trained on to be something else make of the states of a text, by llama.cpp's number:
#: one vector, or with the last of them a score.
_POOLINGS = {1: "their mean", 2: "the first one", 3: "the last one", 4: "a score"}
_SCORE = 4
#: What embedding models are called, and tagged.
_EMBEDDING = re.compile(r"embed|sentence-(transformers|similarity)|feature-extraction", re.IGNORECASE)

#: Beside a model it is called after the whole tensor that it changes; inside of one, as Granite Switch has them, after
#: the projection.
_LORA = re.compile(r".*\.weight\.lora_[ab]$")
_TOWER = re.compile(r"(v|a|mm)\.")
_LONGEST_NAME = 63

#: Architectures that Ollama names in its own way: the same models come under another name for llama.cpp.
_OLLAMA = {
    "gptoss": "gpt-oss",
    "mllama": "Llama 3.2 Vision",
    "qwen25vl": "Qwen 2.5 VL",
    "olmo3": "OLMo 3",
    "glm4moelite": "GLM 4.7 Flash",
}


def other_kind(file: GGUFFile) -> str | None:
    """What this file is in place of a language model, and what would work, to be put behind "this is"; None for what
    may be one."""
    architecture = file.metadata.get("general.architecture")
    kind = file.metadata.get("general.type")
    if kind == "adapter" or _any(_LORA, file.tensors):
        of = f" for {architecture}" if architecture else ""
        return (
            f"a LoRA adapter{of}, not a model; merge it into the model that it was made for with llama.cpp's "
            "llama-export-lora, and analyse the result"
        )
    if isinstance(kind, str) and kind in _TYPES:
        return _TYPES[kind]
    if isinstance(architecture, str) and architecture in _ARCHITECTURES:
        return _ARCHITECTURES[architecture]
    if file.metadata.get(causal := f"{architecture}.attention.causal") is False:
        return f"{_BOTH_WAYS}, because positions read those behind them ({causal} is false)"
    pooling = _pooling(file)
    if pooling == _SCORE:
        return _RANKER
    if pooling is not None and not _predicts(file):
        key = f"{architecture}.pooling_type"
        return (
            f"{_ENCODER} ({key} is {pooling}: of the states of a text {_POOLINGS[pooling]}); analyse the language "
            "model that it was made from, or, if this one does predict tokens, tell it so with "
            f"`gguf-set-metadata FILE {key} 0`"
        )
    if not file.tensors:
        return _VOCABULARY if "tokenizer.ggml.tokens" in file.metadata else "a file without tensors"
    if all(map(_TOWER.match, file.tensors)):
        return _PROJECTOR
    for pattern, what in _TENSORS:
        if _any(pattern, file.tensors):
            return what
    if any(len(name.encode()) > _LONGEST_NAME for name in file.tensors):
        return (
            f"a model whose tensors have names of more than {_LONGEST_NAME} bytes, which no language model for "
            "llama.cpp has; it is probably a diffusion model"
        )
    return None


def pooled(file: GGUFFile) -> str | None:
    """What a reader should know of a language model that says, as embedding models do, how a text becomes one vector;
    None for others."""
    pooling = _pooling(file)
    if pooling is None:
        return None
    return (
        f"the file says how a text becomes one vector (pooling_type {pooling}: of its states {_POOLINGS[pooling]}), as "
        "those of embedding models do; it has a head, and what that predicts is explained"
    )


def ollamas_own(architecture: str) -> str | None:
    """The model that Ollama stores under an architecture of its own, which llama.cpp cannot read; None for others."""
    return _OLLAMA.get(architecture)


def _pooling(file: GGUFFile) -> int | None:
    """What becomes of a text's states, by llama.cpp's number; None where nothing does."""
    pooling = file.metadata.get(f"{file.metadata.get('general.architecture')}.pooling_type")
    return pooling if isinstance(pooling, int) and pooling in _POOLINGS else None


def _predicts(file: GGUFFile) -> bool:
    """Whether a file that pools states has a head of its own all the same, which embedding models have lost, and is not
    called one of them."""
    called = [file.metadata.get(f"general.{key}") for key in ("name", "basename", "finetune", "tags")]
    words = [word for found in called for word in (found if isinstance(found, list) else [found])]
    return "output.weight" in file.tensors and not any(_EMBEDDING.search(str(word)) for word in words)


def _any(pattern: re.Pattern[str], names: Iterable[str]) -> bool:
    return any(pattern.match(name) for name in names)
