"""What a model is given: a text, and where it is a chat the messages that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, TypeAlias

#: Whether a prompt's tokens begin with BOS; "auto": where its file asks for it.
Bos: TypeAlias = Literal["auto", "yes", "no"]


@dataclass(frozen=True)
class Message:
    """A turn of a chat. role: whose it is (system, user, assistant); content: its text."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """A text with what it takes to read it as tokens.

    messages: those of a chat, of which `text` is the rendering; none: the text is bare. special: whether "<s>" and the
    like in the text are the tokens of that name, or plain text. bos: whether the tokens begin with BOS; "auto": a bare
    text is read as llama.cpp does it, and of a chat BOS is added where the file asks for it and the template has not
    put it there. spans: where each message's content stands in the text, [start, stop) in characters; none where that
    is not known.
    """

    text: str
    messages: tuple[Message, ...] = ()
    special: bool = True
    bos: Bos = "auto"
    spans: tuple[tuple[int, int], ...] = ()


#: A prompt as functions take it: a bare text, token ids, or a `Prompt`.
PromptLike: TypeAlias = "str | Sequence[int] | Prompt"


@dataclass(frozen=True)
class Turn:
    """The content of a message among a prompt's tokens: those from start to stop - 1; what lies between the turns is
    the template's. role: whose it is; begin, end: where it stands in the prompt's text, [begin, end) in characters."""

    role: str
    start: int
    stop: int
    begin: int = 0
    end: int = 0


def turns_of(prompt: Prompt, pieces: Sequence[bytes]) -> tuple[Turn, ...]:
    """Where the contents of a chat's messages lie among its tokens; pieces: the bytes that the tokens stand for.

    A token that holds a part of a content and a part of the template counts for the content. A message of which nothing
    is found, as where the template leaves it out, has no turn.
    """
    joined, text = b"".join(pieces), _bytes(prompt.text)
    spans = prompt.spans or _found(prompt)
    shift = joined.find(text)  # BOS may stand before the text
    ends = list(accumulate(map(len, pieces)))
    turns, after = [], 0
    for message, (begin, end) in zip(prompt.messages, spans, strict=True):
        content = _bytes(prompt.text[begin:end])
        # a tokenizer that changes a text (spaces, accents) leaves its contents to be looked for, one after the other
        at = shift + len(_bytes(prompt.text[:begin])) if shift >= 0 else joined.find(content, after)
        if content and at >= 0:
            after = at + len(content)
            start = next(t for t, stop in enumerate(ends) if stop > at)
            stop = next(t for t, stop in enumerate(ends, 1) if stop >= after)
            turns.append(Turn(message.role, start, stop, begin, end))
    return tuple(turns)


def role_at(turns: Sequence[Turn], position: int) -> str | None:
    """Whose the token at a position is; None where it is the template's."""
    return next((turn.role for turn in turns if turn.start <= position < turn.stop), None)


def contents_first(sizes: Sequence[float], turns: Sequence[Turn]) -> list[float]:
    """Sizes of a prompt's tokens by which those of a chat's template come after all others."""
    if not turns:
        return list(sizes)
    last = max(sizes, default=0.0) + 1
    return [size if role_at(turns, t) is not None else size - last for t, size in enumerate(sizes)]


def _found(prompt: Prompt) -> list[tuple[int, int]]:
    """Of every message where its content stands in the text, one after the other; (0, 0) where it does not."""
    spans, after = [], 0
    for message in prompt.messages:
        span = (0, 0)
        for content in filter(None, (message.content, message.content.strip())):
            at = prompt.text.find(content, after)
            if at >= 0:
                after = at + len(content)
                span = (at, after)
                break
        spans.append(span)
    return spans


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
