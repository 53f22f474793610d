"""Which files' tokenizers llama.cpp is known to run, told by their names: to try it takes as long as its vocabulary is
large, half a second for 262,144 tokens."""

from __future__ import annotations

from ggufjac.reader import GGUFFile

#: What every llama.cpp that ggufjac works with (llama-cpp-python 0.3.36 and later) knows by these names: SentencePiece,
#: and byte-level BPE with its ways of cutting a text into words.
SENTENCEPIECE, BPE = "llama", "gpt2"
# fmt: off
WORDS = frozenset((
    "a.x-4.0", "afmoe", "bailingmoe", "bailingmoe2", "bloom", "chameleon", "chatglm-bpe", "codeshell", "cohere2moe",
    "command-r", "dbrx", "deepseek-coder", "deepseek-llm", "deepseek-r1-qwen", "deepseek-v3", "default", "exaone",
    "exaone-moe", "exaone4", "falcon", "falcon-h1", "falcon3", "gigachat", "glm4", "gpt-2", "gpt-4o", "granite-docling",
    "grok-2", "hunyuan", "hunyuan-dense", "jais", "jais-2", "kimi-k2", "laguna", "lfm2", "llada-moe", "llama-bpe",
    "llama-v3", "llama3", "llama4", "megrez", "mellum", "mellum2", "midm-2.0", "minerva-7b", "minicpm5", "minimax-m2",
    "mpt", "olmo", "phi-2", "pixtral", "poro-chat", "qwen2", "qwen35", "refact", "sarvam-moe", "seed-coder",
    "smaug-bpe", "smollm", "solar-open", "spark2_5", "stablelm2", "starcoder", "superbpe", "talkie", "tekken",
    "trillion", "viking", "youtu",
))
# fmt: on

_PREFIX = "tokenizer.ggml."
#: What there is one of for every token, if the file has it at all.
_PER_TOKEN = ("scores", "token_type")


def is_usual(file: GGUFFile) -> bool:
    """Whether llama.cpp runs the file's tokenizer, for all that its names and the lengths of its lists tell. False
    where only llama.cpp itself can say."""
    entries = file.metadata.entries
    tokens = entries.get(f"{_PREFIX}tokens")
    if tokens is None or tokens.item is None:
        return False
    beside = [entries[key] for name in _PER_TOKEN if (key := f"{_PREFIX}{name}") in entries]
    if any(entry.item is None or entry.count < tokens.count for entry in beside):
        return False
    model = file.metadata.get(f"{_PREFIX}model")
    if model == BPE:
        return f"{_PREFIX}merges" in entries and file.metadata.get(f"{_PREFIX}pre") in WORDS
    return bool(model == SENTENCEPIECE)
