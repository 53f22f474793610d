"""The tokens of a file whose tokenizer llama.cpp cannot run: they can be read, no text can be cut into them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias

from ggufjac.errors import UserError
from ggufjac.llamacpp.vocab import TokenAttribute, Vocab
from ggufjac.reader import GGUFFile

#: llama.cpp's numbers for the kinds of tokens (tokenizer.ggml.token_type).
_KINDS = {2: TokenAttribute.UNKNOWN, 3: TokenAttribute.CONTROL, 4: TokenAttribute.USER_DEFINED, 6: TokenAttribute.BYTE}


class BareVocab:
    """What the file itself says of its tokens: the same questions as of a `Vocab`, as far as there is an answer.

    reason: why llama.cpp has no tokenizer for it. A token without a text is called by its number, "<17>".
    """

    adds_bos = False
    adds_eos = False

    def __init__(self, file: GGUFFile, reason: str) -> None:
        self._path = file.path
        self._reason = reason.removeprefix(f"{file.path}: ")
        metadata = file.metadata
        texts = metadata.get("tokenizer.ggml.tokens")
        kinds = metadata.get("tokenizer.ggml.token_type")
        self._texts: list[str] = texts if isinstance(texts, list) else []
        self._kinds: list[int] = [] if kinds is None or isinstance(kinds, list | str) else [int(k) for k in kinds]
        self._in_bytes = metadata.get("tokenizer.ggml.model") == "gpt2"
        self.n_tokens = len(self._texts)
        self.bos = self._id(metadata.get("tokenizer.ggml.bos_token_id"))
        self.eos = self._id(metadata.get("tokenizer.ggml.eos_token_id"))

    @property
    def note(self) -> str:
        """What a reader should know of it."""
        return f"llama.cpp has no tokenizer for this file ({self._reason}); tokens are named as the file has them"

    def close(self) -> None:
        """Nothing is held."""

    def tokenize(self, text: str, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Raises UserError: nothing here can."""
        raise UserError(
            f"{self._path}: {self._reason}; without a tokenizer only token ids can be explained (in Python, or as "
            '{"prompt": [1, 2]} in a .jsonl file for run); a newer llama-cpp-python may have one'
        )

    def detokenize(self, ids: Sequence[int]) -> str:
        return b"".join(map(self.piece, ids)).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        return self.pieces()[token] if token < self.n_tokens else f"<{token}>".encode()

    def pieces(self) -> list[bytes]:
        return self._pieces

    def attributes(self, token: int) -> TokenAttribute:
        kind = self._kinds[token] if token < len(self._kinds) else 1
        return _KINDS.get(kind, TokenAttribute.NORMAL)

    def is_special(self, token: int) -> bool:
        return bool(self.attributes(token) & (TokenAttribute.CONTROL | TokenAttribute.UNKNOWN))

    def ends_text(self, token: int) -> bool:
        return token == self.eos

    @cached_property
    def _pieces(self) -> list[bytes]:
        if not self._in_bytes:
            return [text.replace("▁", " ").encode() for text in self._texts]
        table = _bytes_of_characters()
        return [
            bytes(table[c] for c in text) if all(c in table for c in text) else text.encode() for text in self._texts
        ]

    def _id(self, value: object) -> int | None:
        return value if isinstance(value, int) and 0 <= value < self.n_tokens else None


#: What knows the tokens of a file.
Vocabulary: TypeAlias = Vocab | BareVocab


def _bytes_of_characters() -> dict[str, int]:
    """The bytes that characters of byte-level BPE stand for (Radford et al. 2019): visible ones of Latin-1 for
    themselves, the others moved behind U+0100 in their order."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [b for b in range(256) if b not in set(visible)]
    return {chr(b): b for b in visible} | {chr(256 + i): b for i, b in enumerate(moved)}
