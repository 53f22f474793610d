"""A model as one object, whether it lies in one GGUF file or in several."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ggufjac.reader.cursor import bad_file, show
from ggufjac.reader.metadata import Metadata
from ggufjac.reader.shard import HEADER_BYTES, MAGIC, Shard, open_shard
from ggufjac.reader.tensors import TensorInfo, align

SPLIT_NUMBER = "split.no"
SPLIT_COUNT = "split.count"
SPLIT_TENSORS = "split.tensors.count"

#: llama.cpp keeps the number of a part in 16 bits.
MOST_SHARDS = 65535

Advice = Literal["willneed", "dontneed", "sequential"]


class GGUFFile:
    """An open GGUF model: metadata, tensor table, and the tensors' bytes as views into the mapped file.

    A split model is one model whichever of its files is named; its metadata are those of the first file, `path` is the
    first file, `paths` are all. `size` counts the bytes of all files, `version` and `alignment` are the first file's.
    """

    def __init__(self, shards: tuple[Shard, ...]) -> None:
        first = shards[0]
        self._shards = shards
        self.paths: tuple[Path, ...] = tuple(shard.path for shard in shards)
        self.path: Path = first.path
        self.size: int = sum(len(shard.data) for shard in shards)
        self.version: int = first.version
        self.alignment: int = first.alignment
        self.metadata: Metadata = first.metadata
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(_merge(shards))

    @classmethod
    def open(cls, path: str | Path) -> GGUFFile:
        """Open a model, by any of its files. Raises UserError naming the file and what is wrong with it."""
        shards = _open_all(Path(path))
        try:
            return cls(shards)
        except BaseException:
            _close(shards)
            raise

    @property
    def architecture(self) -> str:
        """`general.architecture`. Raises UserError when it is missing."""
        return self.metadata.require("general.architecture", str)

    @property
    def n_kv(self) -> int:
        """Key-value pairs in the metadata."""
        return len(self.metadata)

    @property
    def raw_metadata(self) -> memoryview:
        """The bytes of the first file's key-value section; its entries' positions count from the file's start."""
        first = self._open_shard(0)
        return memoryview(first.data)[HEADER_BYTES : first.metadata_end]

    def array_length(self, key: str) -> int:
        """Elements of an array in the metadata, without decoding it. Raises UserError when there is no such array."""
        return self.metadata.array_length(key)

    def data(self, name: str) -> NDArray[np.uint8]:
        """The packed bytes of a tensor, uint8 [prod(shape[:-1]), row_bytes]: a read-only view, nothing is copied.

        Raises KeyError for a name that is not in `tensors`.
        """
        info = self.tensors[name]
        data = self._open_shard(info.shard).data
        # numpy refuses an offset at the very end of a buffer, where an empty tensor can lie.
        flat = np.frombuffer(data, np.uint8, info.nbytes, info.offset if info.nbytes else 0)
        return flat.reshape(info.rows, info.row_bytes)

    def advise(self, name: str, advice: Advice) -> None:
        """Tell the system how a tensor's pages are going to be used; without effect where it takes no such advice."""
        info = self.tensors[name]
        data = self._open_shard(info.shard).data
        flag = getattr(mmap, f"MADV_{advice.upper()}", None)
        if flag is None or not info.nbytes:
            return
        # Advice is given for whole pages: the neighbours that share the outer two are only read again from the cache.
        start = info.offset // mmap.PAGESIZE * mmap.PAGESIZE
        with suppress(OSError):
            data.madvise(flag, start, info.offset + info.nbytes - start)

    def drop(self, name: str) -> None:
        """Let the system forget a tensor's pages, so that they take no memory; without effect where it takes no advice.

        They are read again when they are needed.
        """
        self.advise(name, "dontneed")  # mapped pages would stay
        if not hasattr(os, "posix_fadvise"):
            return
        info = self.tensors[name]
        with suppress(OSError):
            handle = os.open(self.paths[info.shard], os.O_RDONLY)
            try:
                os.posix_fadvise(handle, info.offset, info.nbytes, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)

    def close(self) -> None:
        """Let go of the files. Views already handed out stay valid, and keep their file mapped until they are gone."""
        shards, self._shards = self._shards, ()
        _close(shards)

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_shard(self, number: int) -> Shard:
        if not self._shards:
            raise ValueError(f"{self.path} is closed")
        return self._shards[number]


def _close(shards: tuple[Shard, ...]) -> None:
    for shard in shards:
        try:
            shard.data.close()
        except BufferError:
            # Somebody holds a view; the map goes when the view does.
            continue


def _merge(shards: tuple[Shard, ...]) -> dict[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    for shard in shards:
        for name, info in shard.tensors.items():
            if name in tensors:
                other = shards[tensors[name].shard].path.name
                raise bad_file(shard.path, f"the tensor {show(name)} is also in {show(other)}")
            tensors[name] = info
    return tensors


def _open_all(path: Path) -> tuple[Shard, ...]:
    """The named file and, when it is a part of a split model, all the others in order."""
    named = open_shard(path, 0)
    shards: list[Shard] = [named]
    try:
        count = named.metadata.optional(SPLIT_COUNT, int, 1)
        if count <= 1:
            return (named,)
        if count > MOST_SHARDS:
            raise bad_file(path, f"{SPLIT_COUNT} is {count}, more than {MOST_SHARDS}; the file is damaged")
        paths = _shard_paths(named, count)
        named.data.close()
        shards.clear()
        for number, shard_path in enumerate(paths):
            shards.append(open_shard(shard_path, number))
            _check_shard(shards[-1], number, count)
        _check_tensor_count(shards)
    except BaseException:
        _close(tuple(shards))
        raise
    return tuple(shards)


def _shard_paths(named: Shard, count: int) -> list[Path]:
    """All files of the model, from the name of one: llama.cpp's naming, `<prefix>-00001-of-00003.gguf`."""
    number = named.metadata.require(SPLIT_NUMBER, int)
    ending = _ending(number, count)
    if not named.path.name.endswith(ending) and _goes_on(named):
        raise bad_file(
            named.path,
            f"holds the {count} parts of a split model one behind the other, as `cat` writes them, which nobody can "
            "read; join the parts with llama.cpp's `llama-gguf-split --merge`, or give the first one of them",
        )
    if not named.path.name.endswith(ending):
        raise bad_file(
            named.path,
            f"is part {number + 1} of {count} of a split model, but its name does not end in {ending}; "
            "give all parts the names that they were made with",
        )
    prefix = named.path.name.removesuffix(ending)
    paths = [named.path.with_name(prefix + _ending(i, count)) for i in range(count)]
    missing = [path for path in paths if not path.exists()]
    if missing:
        others = f" (and {len(missing) - 1} more of {count})" if len(missing) > 1 else ""
        raise bad_file(
            named.path,
            f"belongs to a split model of which {show(missing[0])} is missing{others}; put all parts into one folder",
        )
    return paths


def _goes_on(shard: Shard) -> bool:
    """Whether another GGUF file begins where this one's tensors end."""
    end = max((info.offset + info.nbytes for info in shard.tensors.values()), default=shard.metadata_end)
    start = align(end, shard.alignment)
    return shard.data[start : start + len(MAGIC)] == MAGIC


def _ending(number: int, count: int) -> str:
    return f"-{number + 1:05d}-of-{count:05d}.gguf"


def _check_shard(shard: Shard, number: int, count: int) -> None:
    found = shard.metadata.require(SPLIT_NUMBER, int)
    if found != number:
        raise bad_file(
            shard.path, f"is part {found + 1} of its model ({SPLIT_NUMBER}), but is named as part {number + 1}"
        )
    found = shard.metadata.optional(SPLIT_COUNT, int, count)
    if found != count:
        raise bad_file(
            shard.path, f"belongs to a model of {found} parts ({SPLIT_COUNT}), but is named as one of {count}"
        )


def _check_tensor_count(shards: list[Shard]) -> None:
    expected = shards[0].metadata.require(SPLIT_TENSORS, int)
    found = sum(len(shard.tensors) for shard in shards)
    if found != expected:
        raise bad_file(
            shards[0].path,
            f"the {len(shards)} parts of the model hold {found} tensors, "
            f"but {SPLIT_TENSORS} says {expected}; they do not belong together",
        )
