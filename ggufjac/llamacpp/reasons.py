"""Why llama.cpp refuses a file, in words for whoever did not write llama.cpp."""

from __future__ import annotations

import re

_MEANINGS = (
    (
        re.compile(r"tensor '(?:token_embd|output)\.weight' has wrong shape"),
        "it wants as many rows as the vocabulary has tokens",
    ),
    (re.compile(r"wrong number of tensors"), "it refuses a file with tensors that it has no use for"),
)


def with_meaning(reason: str) -> str:
    """llama.cpp's own reason, and behind it what that means, where it is known."""
    for pattern, meaning in _MEANINGS:
        if pattern.search(reason):
            return f"{reason} ({meaning})"
    return reason
