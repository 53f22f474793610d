"""Tokens that a file has twice: llama.cpp ends the process over them (an assertion in llama-vocab.cpp), so it is not
asked."""

from __future__ import annotations

import os
from pathlib import Path

from ggufjac.errors import UserError
from ggufjac.readable import readable
from ggufjac.reader import GGUFFile


def require_distinct_tokens(path: str | os.PathLike[str], called: str) -> None:
    """Raises UserError with the first text that two tokens of the file have; an empty one is told from the others.

    called: what the file is to be called in it.
    """
    try:
        file = GGUFFile.open(Path(path))
    except UserError:
        return  # llama.cpp says in its own words what is wrong with it
    with file:
        metadata = file.metadata
        texts = metadata.get("tokenizer.ggml.tokens")
        if not isinstance(texts, list) or metadata.get("tokenizer.ggml.model") in (None, "none"):
            return
    texts = [text or f"[EMPTY_{i}]" for i, text in enumerate(texts)]
    if len(set(texts)) == len(texts):
        return
    seen: dict[str, int] = {}
    for token, text in enumerate(texts):
        first = seen.setdefault(text, token)
        if first != token:
            raise UserError(
                f"{called}: tokens {first} and {token} have the same text {readable(text)!r}, over which llama.cpp "
                "ends its process; convert the model anew with a current llama.cpp"
            )
