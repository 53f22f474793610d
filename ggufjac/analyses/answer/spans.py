"""Larger parts of a text than words: sentences, the messages of a chat, roles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ggufjac.analyses.common.words import Word
from ggufjac.chat.prompt import Turn

#: What ends a sentence; closing quotes and brackets may follow it.
ENDS, CLOSING = ".!?…。！？", "\"'”’)]»"
#: What belongs to no message: the template's own tokens. And what messages of a bare text are called.
TEMPLATE, PROMPT, ANSWER = "template", "prompt", "answer"


@dataclass(frozen=True)
class Passage:
    """Tokens that are summed up together. label: what they are called; positions: of the text."""

    label: str
    positions: tuple[int, ...]


def sentences_of(words: Sequence[Word], boundaries: Sequence[int] = ()) -> tuple[Word, ...]:
    """The sentences that words [in order] make; none goes on over one of the boundaries, which are positions."""
    edges = set(boundaries)
    found: list[list[Word]] = []
    open_ = False
    for word in words:
        if not open_ or word.start in edges:
            found.append([])
        found[-1].append(word)
        body = word.text.rstrip().rstrip(CLOSING)
        open_ = not (body.endswith(tuple(ENDS)) or "\n" in word.text)
    return tuple(Word("".join(word.text for word in group), group[0].start, group[-1].stop) for group in found)


def messages_of(turns: Sequence[Turn], n_prompt: int, n_tokens: int) -> tuple[Passage, ...]:
    """Every message by itself, the answer, and the template's tokens together."""
    if not turns:
        return tuple(_ranges([(PROMPT, 0, n_prompt), (ANSWER, n_prompt, n_tokens)]))
    held = {t for turn in turns for t in range(turn.start, turn.stop)}
    many = {role for role in (turn.role for turn in turns) if sum(turn.role == role for turn in turns) > 1}
    named = []
    for i, turn in enumerate(turns):
        number = 1 + sum(before.role == turn.role for before in turns[:i])
        named.append((f"{turn.role} {number}" if turn.role in many else turn.role, turn.start, turn.stop))
    template = Passage(TEMPLATE, tuple(t for t in range(n_prompt) if t not in held))
    found = [*_ranges(named), *_ranges([(ANSWER, n_prompt, n_tokens)]), template]
    return tuple(passage for passage in found if passage.positions)


def roles_of(turns: Sequence[Turn], n_prompt: int, n_tokens: int) -> tuple[Passage, ...]:
    """All messages of a role together."""
    if not turns:
        return messages_of(turns, n_prompt, n_tokens)
    by_role: dict[str, list[int]] = {}
    for turn in turns:
        by_role.setdefault(turn.role, []).extend(range(turn.start, turn.stop))
    rest = [found for found in messages_of(turns, n_prompt, n_tokens) if found.label in (TEMPLATE, ANSWER)]
    return (*(Passage(role, tuple(positions)) for role, positions in by_role.items() if positions), *rest)


def _ranges(named: Sequence[tuple[str, int, int]]) -> Iterator[Passage]:
    return (Passage(label, tuple(range(start, stop))) for label, start, stop in named if stop > start)
