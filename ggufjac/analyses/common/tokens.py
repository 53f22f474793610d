"""Tokens as a person can read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ggufjac.readable import readable

if TYPE_CHECKING:
    from torch import Tensor

    from ggufjac.llamacpp.barevocab import Vocabulary


@dataclass(frozen=True)
class Piece:
    """A token and the text that it stands for; bytes that are no UTF-8 of their own are written as \\xNN."""

    id: int
    text: str

    @property
    def shown(self) -> str:
        """The text on one line: spaces at the edges as ␣, newlines as ⏎, other invisible characters escaped."""
        return readable(self.text)


class Speller:
    """Token ids to pieces, each looked up once."""

    def __init__(self, vocab: Vocabulary) -> None:
        self._vocab = vocab
        self._known: dict[int, Piece] = {}

    def piece(self, token: int) -> Piece:
        if token not in self._known:
            self._known[token] = Piece(token, self.raw(token).decode("utf-8", "backslashreplace"))
        return self._known[token]

    def special(self, token: int) -> bool:
        """Whether a token is no text of its own."""
        return token >= self._vocab.n_tokens or self._vocab.is_special(token)

    def raw(self, token: int) -> bytes:
        """What a token stands for, perhaps a part of a character."""
        # a head may have more rows than the tokenizer has tokens (padding)
        return self._vocab.piece(token) if token < self._vocab.n_tokens else f"<{token}>".encode()

    def rows(self, ids: Tensor) -> list[tuple[Piece, ...]]:
        """ids [n, m] as n tuples of pieces."""
        return [tuple(self.piece(token) for token in row) for row in ids.tolist()]
