"""llama.cpp's own tokenizer: what a prompt's token ids are, and what text a token id stands for."""

from __future__ import annotations

import ctypes
import operator
import os
from collections.abc import Sequence
from enum import IntFlag
from types import TracebackType
from typing import TYPE_CHECKING

from ggufjac.errors import UserError
from ggufjac.llamacpp.library import Handle, library, load_model

if TYPE_CHECKING:
    from typing_extensions import Self

_INT32_MAX = 2**31 - 1
_VOCAB_NONE, _VOCAB_SPM, _VOCAB_WPM = 0, 1, 3  # enum llama_vocab_type


class TokenAttribute(IntFlag):
    """What a token is: llama.h's `enum llama_token_attr`."""

    UNDEFINED = 0
    UNKNOWN = 1 << 0
    UNUSED = 1 << 1
    NORMAL = 1 << 2
    CONTROL = 1 << 3
    USER_DEFINED = 1 << 4
    BYTE = 1 << 5
    NORMALIZED = 1 << 6
    LSTRIP = 1 << 7
    RSTRIP = 1 << 8
    SINGLE_WORD = 1 << 9


class Vocab:
    """The vocabulary of one GGUF file, without its weights. Also a context manager; `close` frees it.

    Attributes: `n_tokens`; `bos` and `eos`, the ids or None; `adds_bos` and `adds_eos`, whether `tokenize` adds them.
    """

    def __init__(self, model: Handle, path: str) -> None:
        """Use the vocabulary of a loaded model; the handle then belongs to this object."""
        self._api = library().api
        self._model = model
        self._path = path
        self._vocab = self._api.llama_model_get_vocab(model.pointer)
        self._kind = int(self._api.llama_vocab_type(self._vocab))
        if self._kind == _VOCAB_NONE:
            raise UserError(
                f"{path}: the file has no tokenizer (tokenizer.ggml.model is 'none'); give token ids instead of text"
            )
        self.n_tokens = int(self._api.llama_vocab_n_tokens(self._vocab))
        self.bos = self._id_or_none(self._api.llama_vocab_bos(self._vocab))
        self.eos = self._id_or_none(self._api.llama_vocab_eos(self._vocab))
        self.adds_bos = bool(self._api.llama_vocab_get_add_bos(self._vocab))
        self.adds_eos = bool(self._api.llama_vocab_get_add_eos(self._vocab))
        self._byte_tokens: frozenset[int] | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocab:
        """Read the vocabulary of a GGUF file. Raises UserError when llama.cpp cannot, or when there is none."""
        return cls(load_model(path, vocab_only=True), os.fspath(path))

    def close(self) -> None:
        """Free what llama.cpp holds; further calls do nothing."""
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tokenize(self, text: str, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """The token ids of a text, exactly as llama.cpp makes them.

        `add_special` adds BOS and EOS where the file asks for them; `parse_special` reads "<s>" and the like as the
        tokens of that name. An empty text gives what the file adds, possibly nothing.

        Raises UserError for text that is not Unicode or that the tokenizer has no tokens for.
        """
        self._require_open()
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError(
                f"the prompt is not valid Unicode: character {error.start} is the lone surrogate "
                f"U+{ord(text[error.start]):04X}; give the text as UTF-8"
            ) from error
        # one token per byte, a leading space, BOS and EOS must stay below what an int32 can count
        if len(data) > _INT32_MAX - 16:
            raise UserError(f"the prompt has {len(data)} bytes; llama.cpp's tokenizer takes at most {_INT32_MAX - 16}")
        if add_special:
            self._require_special_ids()
        if self._kind == _VOCAB_SPM:
            self._require_tokens_for(text)
        capacity = len(data) + 16
        while True:
            ids = (ctypes.c_int32 * capacity)()
            count = self._api.llama_tokenize(self._vocab, data, len(data), ids, capacity, add_special, parse_special)
            if count >= 0:
                return ids[:count]
            capacity = -count  # normalisation can make more tokens than there were bytes

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of a sequence of tokens: the inverse of `tokenize`, so without the BOS and EOS that it added.

        Other special tokens are written out; bytes that are not UTF-8 become U+FFFD. A space that the tokenizer puts
        before every text is taken off again, so pieces of a longer text need `piece`. Raises UserError for a bad id.
        """
        self._require_open()
        tokens = [self._checked(token) for token in ids]
        # llama.cpp can take BOS off itself, but then leaves the space that stood behind it
        if self.adds_bos and tokens and tokens[0] == self.bos:
            del tokens[0]
        if self.adds_eos and tokens and tokens[-1] == self.eos:
            del tokens[-1]
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        capacity = 16 * len(tokens) + 16
        while True:
            text = ctypes.create_string_buffer(capacity)
            count = self._api.llama_detokenize(self._vocab, array, len(tokens), text, capacity, False, True)
            if count >= 0:
                return text.raw[:count].decode("utf-8", "replace")
            capacity = -count

    def piece(self, token: int) -> bytes:
        """The bytes that one token stands for, special tokens written out; perhaps a part of a UTF-8 character."""
        self._require_open()
        token = self._checked(token)
        return self._pieces(range(token, token + 1))[0]

    def pieces(self) -> list[bytes]:
        """`piece` of every token, by id."""
        self._require_open()
        return self._pieces(range(self.n_tokens))

    def attributes(self, token: int) -> TokenAttribute:
        """What llama.cpp knows of a token: normal, control, user-defined, a byte, unused. UserError for a bad id."""
        self._require_open()
        return TokenAttribute(self._api.llama_vocab_get_attr(self._vocab, self._checked(token)))

    def is_special(self, token: int) -> bool:
        """Whether a token is no text of its own: a control token (BOS, end of turn) or the unknown token."""
        return bool(self.attributes(token) & (TokenAttribute.CONTROL | TokenAttribute.UNKNOWN))

    def ends_text(self, token: int) -> bool:
        """Whether nothing follows this token: the end of a text, of a turn, and what else llama.cpp stops at."""
        self._require_open()
        return bool(self._api.llama_vocab_is_eog(self._vocab, self._checked(token)))

    def _pieces(self, tokens: range) -> list[bytes]:
        to_piece, vocab = self._api.llama_token_to_piece, self._vocab
        capacity = 256
        buffer = ctypes.create_string_buffer(capacity)
        found: list[bytes] = []
        for token in tokens:
            count = to_piece(vocab, token, buffer, capacity, 0, True)
            if count < 0:
                capacity = -count
                buffer = ctypes.create_string_buffer(capacity)
                count = to_piece(vocab, token, buffer, capacity, 0, True)
            found.append(ctypes.string_at(buffer, count))
        return found

    def _require_open(self) -> None:
        _ = self._model.pointer

    def _checked(self, token: int) -> int:
        """The id as an int of Python's; llama.cpp ends the process over one that is out of range."""
        token = operator.index(token)
        if not 0 <= token < self.n_tokens:
            raise UserError(
                f"token id {token} is outside the vocabulary of {self._path}: ids go from 0 to {self.n_tokens - 1}"
            )
        return token

    def _require_special_ids(self) -> None:
        """llama.cpp ends the process over a missing BOS or EOS that it was told to add."""
        for name, adds, token in (("bos", self.adds_bos, self.bos), ("eos", self.adds_eos, self.eos)):
            if adds and token is None and self._kind != _VOCAB_WPM:
                raise UserError(
                    f"{self._path}: the file asks for tokenizer.ggml.add_{name}_token but names no "
                    f"tokenizer.ggml.{name}_token_id; tokenize without special tokens"
                )

    def _require_tokens_for(self, text: str) -> None:
        """llama.cpp ends the process when a SentencePiece vocabulary lacks a character and also tokens for its bytes.

        Only a vocabulary without all 256 byte tokens has to be asked for each character.
        """
        if self._byte_tokens is None:
            self._byte_tokens = self._find_byte_tokens()
        if len(self._byte_tokens) == 256:
            return
        known = {self._api.llama_vocab_get_text(self._vocab, token) for token in range(self.n_tokens)}
        for character in sorted(set(text)):
            spelled = "▁" if character == " " else character
            if spelled.encode() not in known and not self._byte_tokens.issuperset(character.encode()):
                raise UserError(
                    f"{self._path}: the tokenizer has no token for {character!r} nor for its bytes; "
                    "leave it out of the prompt"
                )

    def _find_byte_tokens(self) -> frozenset[int]:
        """The byte values that have a token of their own, "<0x00>" to "<0xFF>"."""
        names = {f"<0x{value:02X}>".encode(): value for value in range(256)}
        found: set[int] = set()
        for token in range(self.n_tokens):
            value = names.get(self._api.llama_vocab_get_text(self._vocab, token))
            if value is not None:
                found.add(value)
                if len(found) == 256:
                    break
        return frozenset(found)

    @staticmethod
    def _id_or_none(token: int) -> int | None:
        return int(token) if token >= 0 else None
