"""Looking through folders that may be missing, forbidden, on a dead mount, or linked in a circle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def children(folder: Path) -> list[Path]:
    """What is in a folder, hidden files left out; nothing where it is missing or may not be read."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return []


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, hidden ones left out. Links are followed, and each folder is entered once."""
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        if not _is_new(root, seen):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    try:
        found = os.stat(folder)
    except OSError:
        return False
    key = found.st_dev, found.st_ino
    if key in seen:
        return False
    seen.add(key)
    return True
