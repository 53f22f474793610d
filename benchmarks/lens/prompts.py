"""Prompts whose prediction needs something that stands in neither prompt nor answer: prompts.jsonl, one a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ggufjac.maps.model import Model

FILE = Path(__file__).with_name("prompts.jsonl")
#: The first token of a longer word stands for it from so many letters on.
LETTERS = 3


@dataclass(frozen=True)
class Prompt:
    """subject: the part of the text from which one knows; intermediate: spellings of what one must think of."""

    kind: str
    text: str
    subject: str
    intermediate: tuple[str, ...]
    answer: str

    def known_from(self, model: Model) -> int:
        """The position of the subject's last token."""
        end = self.text.index(self.subject) + len(self.subject)
        return len(model.tokenize(self.text[:end])) - 1


def tokens_of(model: Model, words: Iterable[str]) -> list[int]:
    """What a model would say first of any of the words, with a space before it and without."""
    found = []
    for word in words:
        for spelling in (f" {word}", word):
            first, *more = model.vocab.tokenize(spelling, add_special=False)
            if not more or len(model.vocab.piece(first).strip()) >= LETTERS:
                found.append(first)
    return list(dict.fromkeys(found))


def read(file: Path = FILE) -> list[Prompt]:
    """All prompts of a file."""
    lines = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    return [Prompt(**{**line, "intermediate": tuple(line["intermediate"])}) for line in lines]
