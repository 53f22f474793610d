"""What a model is given: a text, and where it is a chat the messages that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    the template's. role: whose it is; text: the content."""

    role: str
    start: int
    stop: int
    text: str = ""


def turns_of(prompt: Prompt, pieces: Sequence[bytes]) -> tuple[Turn, ...]:
    """Where the contents of a chat's messages lie among its tokens; pieces: the bytes that the tokens stand for.

    A token that holds a part of a content and a part of the template counts for the content. A message of which nothing
    is found, as where the template leaves it out, has no turn.
    """
    joined = b"".join(pieces)
    ends: list[int] = []
    for piece in pieces:
        ends.append(len(piece) + (ends[-1] if ends else 0))
    found = []
    for message, (first, last) in zip(prompt.messages, _places(prompt, joined), strict=True):
        if first < last:
            start = next(t for t, end in enumerate(ends) if end > first)
            stop = next(t for t, end in enumerate(ends, 1) if end >= last)
            text = joined[first:last].decode("utf-8", "replace")
            found.append(Turn(message.role, start, stop, text))
    return tuple(found)


def _places(prompt: Prompt, joined: bytes) -> list[tuple[int, int]]:
    """Of every message where its content lies in the bytes, [start, stop); (0, 0) where it does not."""
    text = prompt.text.encode("utf-8", "replace")
    shift = joined.find(text)  # BOS may stand before the text
    if prompt.spans and shift >= 0:
        before = [len(prompt.text[:at].encode("utf-8", "replace")) + shift for span in prompt.spans for at in span]
        return list(zip(before[::2], before[1::2], strict=True))
    places, after = [], 0
    for message in prompt.messages:
        place = (0, 0)
        for content in (message.content, message.content.strip()):
            wanted = content.encode("utf-8", "replace")
            at = joined.find(wanted, after) if wanted else -1
            if at >= 0:
                place, after = (at, at + len(wanted)), at + len(wanted)
                break
        places.append(place)
    return places
