"""The prompts: what is in prompts.jsonl, one a line, and how a chat is written for each family of models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

#: Multiples of it lie evenly between 0 and 1, however many.
GOLDEN = (5**0.5 - 1) / 2
FILE = Path(__file__).with_name("prompts.jsonl")


@dataclass(frozen=True)
class Prompt:
    """kind: what it tries. text: what it says; or the user's turn of a chat, with the system's where there is one."""

    kind: str
    text: str = ""
    language: str = "English"
    system: str = ""
    user: str = ""

    def written(self, architecture: str) -> str:
        """The text as a model of this architecture reads it."""
        if not self.user:
            return self.text
        if architecture.startswith("gemma"):  # it knows no turn of a system: that goes before the user's words
            said = f"{self.system}\n\n{self.user}" if self.system else self.user
            return f"<start_of_turn>user\n{said}<end_of_turn>\n<start_of_turn>model\n"
        system = f"<|im_start|>system\n{self.system}<|im_end|>\n" if self.system else ""
        return f"{system}<|im_start|>user\n{self.user}<|im_end|>\n<|im_start|>assistant\n"


def read(file: Path = FILE) -> dict[int, Prompt]:
    """All prompts of a file by their numbers, dealt out so that however many of the first are taken, they are spread
    over the file, and so over the kinds."""
    found = [Prompt(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {i: found[i] for i in sorted(range(len(found)), key=lambda i: (i * GOLDEN) % 1)}
