"""Files that are not the whole of one, as their names tell: downloads that go on, and pieces cut anywhere."""

from __future__ import annotations

import re
from pathlib import Path

#: How browsers, download tools, llama.cpp and Ollama end the name of a file that they have not finished.
_DOWNLOAD = re.compile(
    r"\.(?:part|partial|crdownload|download|downloadInProgress|incomplete|aria2|tmp|opdownload)$|-partial(?:-\d+)?$",
    re.IGNORECASE,
)
#: Pieces that were cut by bytes, to be put together again by bytes: big.gguf.part1of2, big.gguf-split-a.
_PIECE = re.compile(r"(?P<whole>.+\.gguf)(?:\.part\d+of\d+|-split-[a-z]+|\.\d{3})$", re.IGNORECASE)


def describe_name(path: Path) -> str | None:
    """What the name of a file says about its being a piece of one, and what to do; None for the name of a whole one."""
    piece = _PIECE.match(path.name)
    if piece:
        return (
            f"is a piece of {piece['whole']} that was cut anywhere, not one of llama.cpp's own pieces; put all of them "
            "together in their order (`cat`, on Windows `copy /b`)"
        )
    if _DOWNLOAD.search(path.name):
        return "is an unfinished download, as its name says; let the download end, or begin it again"
    return None
