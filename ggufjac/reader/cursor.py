"""Reading a buffer from front to back without ever believing what it says about itself.

Every length and count is compared with the bytes that are left before anything is allocated or skipped, and
whatever does not fit becomes one UserError that names the file.
"""

from __future__ import annotations

from mmap import mmap
from pathlib import Path
from struct import Struct

from ggufjac.errors import UserError
from ggufjac.readable import briefly, visible

UINT32 = Struct("<I")
UINT64 = Struct("<Q")


def bad_file(path: Path, problem: str) -> UserError:
    """The one line that says what is wrong with a file, for the caller to raise."""
    return UserError(f"{visible(str(path))}: {problem}")


def show(name: object) -> str:
    """Text out of a file as it can stand in a one-line message: control characters escaped, length bounded."""
    return briefly(str(name))


class Cursor:
    """A position in a mapped file that refuses to move past the end."""

    def __init__(self, path: Path, data: mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes between the position and the end of the file."""
        return self.size - self.position

    def error(self, problem: str) -> UserError:
        """The one line about this file, for the caller to raise."""
        return bad_file(self.path, problem)

    def skip(self, n_bytes: int, what: str) -> int:
        """Move past `n_bytes`, which belong to `what`; returns where they start."""
        start = self.position
        if n_bytes > self.left:
            raise self.error(
                f"{what} takes {n_bytes} bytes, but the file ends {self.left} bytes on; "
                "it is truncated or damaged: download it again"
            )
        self.position = start + n_bytes
        return start

    def uint32(self, what: str) -> int:
        return int(UINT32.unpack_from(self.data, self.skip(4, what))[0])

    def uint64(self, what: str) -> int:
        return int(UINT64.unpack_from(self.data, self.skip(8, what))[0])

    def count(self, what: str, smallest: int) -> int:
        """A 64-bit number of things of at least `smallest` bytes each, refused when the file cannot hold them."""
        n = self.uint64(what)
        if n * smallest > self.left:
            raise self.error(
                f"{what} is {n}, more than the {self.left} bytes left in the file can hold; "
                "it is truncated or damaged: download it again"
            )
        return n

    def name(self, what: str, longest: int) -> str:
        """A length-prefixed string that serves as a name: UTF-8 and at most `longest` bytes."""
        length = self.uint64(f"the length of {what}")
        if length > longest:
            raise self.error(
                f"{what} has a name of {length} bytes, more than the {longest} allowed; the file is damaged"
            )
        start = self.skip(length, what)
        raw = self.data[start : start + length]
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.error(f"{what} has a name that is not UTF-8 ({show(raw)}); the file is damaged") from error
