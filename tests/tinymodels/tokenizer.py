"""One small SentencePiece vocabulary for every tiny model: 320 tokens, of which 256 are bytes."""

from __future__ import annotations

from gguf import GGUFWriter, TokenType

_LETTERS = "▁etaoinsrhldcumfpgwybvkxjqz.,"
# fmt: off
_MERGES = (
    "he", "in", "er", "an", "on", "re", "at", "en", "▁t", "▁a", "▁o", "▁s", "▁b", "▁th", "▁the", "▁an", "▁and", "▁of",
    "▁to", "▁in", "▁is", "ing", "ed", "es", "or", "▁br", "idge", "▁bridge", "id", "ge", "ou", "out",
)
# fmt: on

UNK, BOS, EOS = 0, 1, 2
TOKENS: tuple[str, ...] = (
    "<unk>",
    "<s>",
    "</s>",
    *(f"<0x{value:02X}>" for value in range(256)),
    *_MERGES,
    *_LETTERS,
)
VOCAB_SIZE = len(TOKENS)


def add_tokenizer(writer: GGUFWriter) -> None:
    """Write the vocabulary; earlier merges have the higher score, so they are made first."""
    special = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    plain = VOCAB_SIZE - len(special) - 256
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(TOKENS))
    writer.add_token_scores([0.0] * (VOCAB_SIZE - plain) + [-float(rank) for rank in range(plain)])
    writer.add_token_types([*special, *[TokenType.BYTE] * 256, *[TokenType.NORMAL] * plain])
    writer.add_unk_token_id(UNK)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(True)
