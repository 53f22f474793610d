"""A copy of a model whose weights are float32: llama.cpp computes it without rounding activations to 8 bits.

The metadata are copied byte for byte, so tokenizer and hyper-parameters are those of the source. Only the tensor table
and the weights are new. The copy is always one file, also of a split model, whose split.* keys are left out.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ggufjac.reader.cursor import bad_file
from ggufjac.reader.file import SPLIT_COUNT, SPLIT_NUMBER, SPLIT_TENSORS, GGUFFile
from ggufjac.reader.shard import HEADER_BYTES, MAGIC
from ggufjac.reader.tensors import TensorInfo, align
from ggufjac.reader.types import INTEGERS, GGMLType

#: [n, row_bytes] uint8 of a type -> [n, row] float32.
Dequantize = Callable[[GGMLType, NDArray[np.uint8]], NDArray[np.float32]]

#: Weights expanded at a time: 32 MiB as float32.
PIECE_WEIGHTS = 1 << 23

_AS_THEY_ARE = INTEGERS | {GGMLType.F32}


@dataclass(frozen=True)
class _Plan:
    """What goes where in the copy: everything before the weights, each tensor with its bytes and padding, the size."""

    head: bytes
    tensors: list[tuple[TensorInfo, int, int]]
    size: int


def expanded_size(source: GGUFFile) -> int:
    """Bytes of the file that `expand_f32` writes."""
    return _plan(source).size


def expand_f32(source: GGUFFile, target: Path, dequantize: Dequantize) -> None:
    """Write the model to `target` with every tensor in float32, those of integers excepted, and without empty ones.

    `dequantize` gets packed rows (uint8 [n, row_bytes]; where a row is very long, its blocks as rows) and returns their
    float32 values [n, weights in a row]. `target` appears when it is complete and not at all after a failure or an
    interrupt. Raises UserError when it is one of the source's own files or cannot be written.
    """
    if any(target.exists() and target.samefile(path) for path in source.paths):
        raise bad_file(target, "is the model itself; write its expansion to another file")
    plan = _plan(source)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            _write(file, source, plan, dequantize)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise bad_file(target, f"cannot be written ({error.strerror or error}; it takes {plan.size} bytes)") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _plan(source: GGUFFile) -> _Plan:
    pairs = _kept_pairs(source)
    table = []
    tensors = []
    offset = 0
    for info in source.tensors.values():
        if not info.n_weights:
            continue  # a converter's flag, for which llama.cpp would refuse the file
        kind = info.type if info.type in _AS_THEY_ARE else GGMLType.F32
        nbytes = info.n_weights * kind.block_bytes
        padding = align(nbytes, source.alignment) - nbytes
        table.append(_table_row(info, kind, offset))
        tensors.append((info, nbytes, padding))
        offset += nbytes + padding
    head = MAGIC + struct.pack("<IQQ", source.version, len(table), len(pairs)) + b"".join(pairs) + b"".join(table)
    head += bytes(align(len(head), source.alignment) - len(head))
    return _Plan(head, tensors, len(head) + offset)


def _kept_pairs(source: GGUFFile) -> list[bytes]:
    raw = source.raw_metadata
    dropped = (SPLIT_NUMBER, SPLIT_COUNT, SPLIT_TENSORS)
    return [
        bytes(raw[entry.start - HEADER_BYTES : entry.end - HEADER_BYTES])
        for key, entry in source.metadata.entries.items()
        if key not in dropped
    ]


def _table_row(info: TensorInfo, kind: GGMLType, offset: int) -> bytes:
    name = info.name.encode()
    dims = tuple(reversed(info.shape))
    return (
        struct.pack("<Q", len(name))
        + name
        + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        + struct.pack("<IQ", kind, offset)
    )


def _write(file: BinaryIO, source: GGUFFile, plan: _Plan, dequantize: Dequantize) -> None:
    file.write(plan.head)
    for info, nbytes, padding in plan.tensors:
        source.advise(info.name, "sequential")
        written = 0
        for piece in _pieces(source, info):
            values: NDArray[Any] = piece
            if info.type not in _AS_THEY_ARE:
                values = np.ascontiguousarray(dequantize(info.type, piece), dtype="<f4")
            file.write(values.data)
            written += values.nbytes
        if written != nbytes:
            raise ValueError(f"{info.name}: {written} bytes were dequantised where {nbytes} belong")
        file.write(bytes(padding))


def _pieces(source: GGUFFile, info: TensorInfo) -> Iterator[NDArray[np.uint8]]:
    """The packed rows of a tensor, at most PIECE_WEIGHTS weights at a time."""
    rows = source.data(info.name)
    row = info.shape[-1]
    if row > PIECE_WEIGHTS:
        row = info.type.block
        rows = rows.reshape(-1, info.type.block_bytes)
    step = PIECE_WEIGHTS // row
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
