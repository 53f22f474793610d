"""Tokens by what they stand for: the one that a person means, and the same one in another vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.llamacpp.barevocab import Vocabulary
    from ggufjac.maps.model import Model


def token_of(vocab: Vocabulary, pieces: Sequence[bytes], wanted: bytes) -> int | None:
    """The id of the token that stands for exactly these bytes, None where there is none; pieces: of the vocabulary."""
    from ggufjac.llamacpp.vocab import TokenAttribute

    same = [i for i, piece in enumerate(pieces) if piece == wanted]
    if not same:
        return None
    # a letter can also be the token of its byte, which models hardly ever say
    return next((i for i in same if TokenAttribute.BYTE not in vocab.attributes(i)), same[0])


def token_named(model: Model, named: str | int, option: str = "--target") -> int:
    """The id of a token that is named by its text, by #ID, or by its id. Raises UserError where there is none."""
    if isinstance(named, str):
        return token_called(model, named, option)
    if not 0 <= named < model.family.n_vocab:
        raise UserError(f"there is no token {named}; the vocabulary has {model.family.n_vocab} tokens, from 0")
    return int(named)


def tokens_named(model: Model, named: str | int | Sequence[str | int] | None, option: str) -> tuple[int, ...]:
    """The ids of the tokens that are named, one or several; None: none."""
    if named is None:
        return ()
    several = [named] if isinstance(named, str | int) else named
    return tuple(token_named(model, one, option) for one in several)


def spelled(model: Model, prompt: Sequence[int], named: str | int, option: str) -> tuple[int, ...]:
    """The tokens of what is named behind a prompt: the one that it is (by its text, #ID or id), or else those into
    which the tokenizer cuts it there. Raises UserError where there is none."""
    if isinstance(named, int) or _is_number(named) or token_of_text(model, named) is not None:
        return (token_named(model, named, option),)
    if not named:
        raise UserError(f"{option}: the text is empty; give at least one character")
    return tuple(model.continuation(prompt, named))


def token_of_text(model: Model, text: str) -> int | None:
    """The id of the token with exactly this text, None where there is none."""
    return token_of(model.vocab, model.vocab.pieces(), text.encode("utf-8", "surrogateescape"))


def _is_number(text: str) -> bool:
    return text.startswith("#") and text[1:].isdigit()


def token_called(model: Model, text: str, option: str = "--target") -> int:
    """The id of the token with exactly this text, or of #ID; `option` says in messages where the text comes from.

    Raises UserError where there is none.
    """
    if _is_number(text):
        number = int(text[1:])
        if number >= model.family.n_vocab:
            raise UserError(f"{option}: there is no token {number}; the vocabulary has {model.family.n_vocab} tokens")
        return number
    pieces = model.vocab.pieces()
    wanted = text.encode("utf-8", "surrogateescape")
    found = token_of(model.vocab, pieces, wanted)
    if found is not None:
        return found
    near = [form for form in (b" " + wanted, wanted.strip()) if form in pieces]
    hint = f"; there is {near[0].decode('utf-8', 'replace')!r}" if near else "; give a token's whole text, or #ID"
    raise UserError(f"{option}: no token is {text!r}{hint}")
