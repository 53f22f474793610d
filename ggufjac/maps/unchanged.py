"""Whether a model's files are still what was opened: a mapped file that is overwritten changes under the analysis, and
one that is cut short ends the process at the first missing page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ggufjac.errors import UserError


@dataclass(frozen=True)
class Stamps:
    """What the system says of every file: where it lies, how large it is, when it was written last."""

    files: tuple[tuple[Path, tuple[int, ...] | None], ...]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Stamps:
        return cls(tuple((path, _stamp(path)) for path in paths))

    def require_same(self) -> None:
        """Raise UserError naming a file that was changed or replaced. One that was deleted is still mapped, whole."""
        for path, before in self.files:
            now = _stamp(path)
            if now is not None and now != before:
                raise UserError(
                    f"{path}: the file was changed while it was in use, so that what was computed from it does not "
                    "count; leave it alone and run this again"
                )


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
