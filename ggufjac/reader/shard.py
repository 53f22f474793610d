"""One GGUF file on disk: mapped, checked from the magic to the last tensor, and indexed."""

from __future__ import annotations

import mmap
import stat
from dataclasses import dataclass
from pathlib import Path

from ggufjac.errors import UserError
from ggufjac.reader.cursor import Cursor, bad_file
from ggufjac.reader.foreign import HEAD_BYTES, describe
from ggufjac.reader.metadata import Metadata, ValueType, index_metadata
from ggufjac.reader.tensors import SMALLEST_ROW, TensorInfo, read_tensor_table
from ggufjac.reader.unfinished import describe_name

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
#: Bytes before the first key-value pair: magic, version, number of tensors, number of pairs.
HEADER_BYTES = 24
#: The fewest bytes that a key-value pair takes: a key of one letter, a type and a one-byte value.
SMALLEST_PAIR = 8 + 1 + 4 + 1


@dataclass(frozen=True)
class Shard:
    """A file of a model; most models are one. The metadata lies in bytes [HEADER_BYTES, metadata_end)."""

    path: Path
    data: mmap.mmap
    version: int
    alignment: int
    metadata: Metadata
    metadata_end: int
    tensors: dict[str, TensorInfo]


def open_shard(path: Path, number: int) -> Shard:
    """Map the file and check all of it but the weights' values. Raises UserError naming the file and what is wrong."""
    data = _map(path)
    try:
        return _parse(path, data, number)
    except UserError as error:
        data.close()
        piece = describe_name(path)
        if piece is None:
            raise
        reason = str(error).removeprefix(f"{bad_file(path, '')}")
        raise bad_file(path, f"{piece}; as it is, {reason}") from error
    except BaseException:
        data.close()
        raise


def _map(path: Path) -> mmap.mmap:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise bad_file(path, "is a directory; name the .gguf file in it")
        # Asked before opening: opening a named pipe would wait for a writer.
        if not stat.S_ISREG(mode):
            raise bad_file(path, "is not a regular file, so it cannot be mapped into memory")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if not head:
                raise bad_file(path, "is empty; download the model again")
            if not head.startswith(MAGIC):
                raise bad_file(path, describe_name(path) or f"is not a GGUF file; it looks like {describe(head)}")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise bad_file(path, "there is no such file") from None
    except PermissionError as error:
        raise bad_file(
            path,
            f"cannot be read ({error.strerror}): your user may not open it, as with the files of a system service; "
            "have yourself given the permission, or copy the file",
        ) from error
    # ValueError: a path with a zero byte in it, or a file that shrank to nothing after it was read.
    except (OSError, ValueError) as error:
        raise bad_file(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _parse(path: Path, data: mmap.mmap, number: int) -> Shard:
    cursor = Cursor(path, data)
    cursor.skip(len(MAGIC), "the magic")
    version = cursor.uint32("the version")
    _check_version(cursor, version)
    n_tensors = cursor.count("the number of tensors", SMALLEST_ROW)
    n_pairs = cursor.count("the number of metadata pairs", SMALLEST_PAIR)
    metadata = index_metadata(cursor, n_pairs)
    metadata_end = cursor.position
    alignment = _alignment(cursor, metadata)
    architecture = str(metadata.get("general.architecture", ""))
    tensors = read_tensor_table(cursor, n_tensors, alignment, number, architecture)
    return Shard(path, data, version, alignment, metadata, metadata_end, tensors)


def _check_version(cursor: Cursor, version: int) -> None:
    if version in VERSIONS:
        return
    if version and version & 0xFFFF == 0:
        raise cursor.error(
            "is a big-endian GGUF file; convert it with gguf-py's gguf_convert_endian.py, "
            "or download a little-endian one"
        )
    supported = " and ".join(map(str, VERSIONS))
    hint = "download a newer conversion" if version < VERSIONS[0] else "it may need a newer ggufjac"
    raise cursor.error(f"is GGUF version {version}, but the versions {supported} are supported; {hint}")


def _alignment(cursor: Cursor, metadata: Metadata) -> int:
    entry = metadata.entries.get("general.alignment")
    if entry is None:
        return DEFAULT_ALIGNMENT
    if entry.type is not ValueType.UINT32:
        raise cursor.error(f"general.alignment must be of type uint32, but it is of type {entry}; the file is damaged")
    alignment = metadata.require("general.alignment", int)
    if alignment <= 0 or alignment & (alignment - 1):
        raise cursor.error(f"general.alignment is {alignment}, not a power of two; the file is damaged")
    return alignment
