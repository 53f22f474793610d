"""Concepts as each way of steering is given them, and the words by which they are counted."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ggufjac.analyses.common.targets import token_of_text
from ggufjac.maps.model import Model

FILE = Path(__file__).with_name("concepts.json")


@dataclass(frozen=True)
class Concept:
    """prompt: for the maps of a prompt; positive: for directions from pairs; said: words that are given to directions
    of tokens; words: those that are counted, fixed before anything was measured."""

    name: str
    prompt: str
    positive: tuple[str, ...]
    said: tuple[str, ...]
    words: tuple[str, ...]

    def hits(self, text: str) -> int:
        """How many counted words a text has."""
        return _hits(self.words, text)

    def others(self, text: str) -> int:
        """How many of those that no method was given by name."""
        given = [word for phrase in self.said for word in (phrase, *phrase.split())]
        return _hits([word for word in self.words if word not in {w.lower() for w in given}], text)

    def tokens(self, model: Model) -> tuple[int, ...]:
        """The counted words that are one token, behind a space, in small letters or with a capital."""
        spelled = [token_of_text(model, f" {form}") for word in self.words for form in (word, word.title())]
        return tuple(dict.fromkeys(token for token in spelled if token is not None))

    def named(self, model: Model) -> tuple[int, ...]:
        """The tokens of the words that directions of tokens are given."""
        return tuple(
            dict.fromkeys(t for word in self.said for t in model.vocab.tokenize(f" {word}", add_special=False))
        )


def _hits(words: Sequence[str], text: str) -> int:
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return len(re.findall(rf"\b(?:{pattern})\b", text.lower()))


@dataclass(frozen=True)
class Material:
    """What is shared: the negative lines, the prompts that are gone on with, ordinary texts for the price."""

    concepts: tuple[Concept, ...]
    negative: tuple[str, ...]
    prompts: tuple[str, ...]
    neutral: tuple[str, ...]


def read(path: Path = FILE) -> Material:
    found = json.loads(path.read_text(encoding="utf-8"))
    concepts = tuple(
        Concept(
            name=each["name"],
            prompt=each["prompt"],
            positive=tuple(each["positive"]),
            said=tuple(each["said"]),
            words=tuple(each["words"]),
        )
        for each in found["concepts"]
    )
    return Material(concepts, tuple(found["negative"]), tuple(found["prompts"]), tuple(found["neutral"]))
