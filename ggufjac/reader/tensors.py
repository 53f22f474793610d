"""The tensor table of a GGUF file: names, shapes, types, and where the bytes lie.

The rules are those of llama.cpp's ggml/src/gguf.cpp: tensors lie in the order of the table, each starts at the first
multiple of the alignment behind the one before, and all end inside the file (the padding behind the last one may be
missing). Tensors without elements, which some converters write as flags, pass as they do there. So do names that are
longer than llama.cpp allows: files of other models have them, and can be told by them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from ggufjac.reader.cursor import Cursor, show
from ggufjac.reader.foreign_types import describe
from ggufjac.reader.types import GGMLType

#: GGML_MAX_DIMS of ggml.h.
MAX_DIMS = 4
#: The longest name that is believed to be one.
LONGEST_NAME = 1024

#: The fewest bytes that a row of the table takes: an empty name, no dimensions, a type and an offset.
SMALLEST_ROW = 8 + 4 + 4 + 8

#: The K-quants, which LLAMA_QKK_64 packed in blocks of 64 weights for models whose rows 256 does not divide.
_K_QUANTS = frozenset({GGMLType.Q2_K, GGMLType.Q3_K, GGMLType.Q4_K, GGMLType.Q5_K, GGMLType.Q6_K})
_SMALL_K_BLOCK = 64


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a model.

    `shape` has the slowest dimension first (ggml's ne reversed): a matrix is (n_out, n_in), a stack of expert matrices
    (n_expert, n_out, n_in). `offset` counts bytes from the start of the shard that holds it.
    """

    name: str
    shape: tuple[int, ...]
    type: GGMLType
    offset: int
    nbytes: int
    shard: int

    @property
    def plain_shape(self) -> tuple[int, ...]:
        """`shape` as ggml sees it, which does not tell [n, 1] from [n]: see `plain`."""
        return plain(self.shape)

    @property
    def n_weights(self) -> int:
        """Elements of the tensor."""
        return prod(self.shape)

    @property
    def rows(self) -> int:
        """Rows, all dimensions but the last taken together."""
        return prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.shape[-1] // self.type.block * self.type.block_bytes


def read_tensor_table(
    cursor: Cursor, n_tensors: int, alignment: int, shard: int, architecture: str
) -> dict[str, TensorInfo]:
    """The `n_tensors` rows of the table from the cursor on. Raises UserError for whatever llama.cpp would refuse.

    `architecture` is what the file says, "" if nothing: it tells whose a type is that llama.cpp does not have.
    """
    table: dict[str, TensorInfo] = {}
    for number in range(n_tensors):
        info = _read_row(cursor, number, shard, architecture)
        if info.name in table:
            raise cursor.error(f"the tensor {show(info.name)} is there twice; the file is damaged")
        table[info.name] = info
    _refuse_double_blocks(cursor, list(table.values()), alignment)
    # The table counts offsets from the first aligned position behind itself.
    data_start = align(cursor.position, alignment)
    expected = 0
    for name, info in table.items():
        _check_place(cursor, info, data_start, expected, alignment)
        expected = align(expected + info.nbytes, alignment)
        table[name] = replace(info, offset=data_start + info.offset)
    return table


def plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the ones in front: two shapes are the same to ggml when these are.

    ggml fills every shape up to four dimensions with ones at its end, which is our front, and converters are free to
    write some of them: the same vector is [n] in one file and [n, 1] in another.
    """
    first = next((i for i, n in enumerate(shape[:-1]) if n != 1), len(shape) - 1)
    return shape[first:]


def align(position: int, alignment: int) -> int:
    """The first multiple of `alignment` that is not before `position`."""
    return -(-position // alignment) * alignment


def _read_row(cursor: Cursor, number: int, shard: int, architecture: str) -> TensorInfo:
    what = f"tensor {number}"
    name = cursor.name(what, LONGEST_NAME)
    what = f"the tensor {show(name)}"
    n_dims = cursor.uint32(f"the number of dimensions of {what}")
    if n_dims > MAX_DIMS:
        raise cursor.error(f"{what} has {n_dims} dimensions, where at most {MAX_DIMS} can be; the file is damaged")
    dims = [cursor.uint64(f"the shape of {what}") for _ in range(n_dims)] or [1]
    for dim in dims:
        if not 0 <= dim < 1 << 63:
            raise cursor.error(f"{what} has a dimension of {dim}; the file is damaged")
    kind = _tensor_type(cursor, what, architecture)
    if kind in _K_QUANTS and dims[0] % kind.block and dims[0] % _SMALL_K_BLOCK == 0:
        raise cursor.error(
            f"{what} has rows of {dims[0]} weights as {kind.name}, which is possible only in blocks of "
            f"{_SMALL_K_BLOCK} (LLAMA_QKK_64), which llama.cpp dropped in 2024; download a newer conversion"
        )
    if dims[0] % kind.block:
        raise cursor.error(
            f"{what} has rows of {dims[0]} weights, not a multiple of {kind.block}, the block of its type {kind.name}; "
            "the file is damaged"
        )
    nbytes = prod(dims) // kind.block * kind.block_bytes
    return TensorInfo(name, tuple(reversed(dims)), kind, cursor.uint64(f"the offset of {what}"), nbytes, shard)


def _tensor_type(cursor: Cursor, what: str, architecture: str) -> GGMLType:
    number = cursor.uint32(f"the type of {what}")
    try:
        return GGMLType(number)
    except ValueError:
        raise cursor.error(f"{what} has the type {number}, {describe(number, architecture)}") from None


def _refuse_double_blocks(cursor: Cursor, table: list[TensorInfo], alignment: int) -> None:
    """Raise UserError where the offsets say that number 42 stands for another type: a fork's files have blocks of 128
    weights in 34 bytes under it."""

    def lie(double: bool) -> bool:
        expected = 0
        for info in table:
            if info.offset != expected:
                return False
            packed = info.n_weights // 128 * 34 if double and info.type is GGMLType.Q2_0 else info.nbytes
            expected = align(expected + packed, alignment)
        return True

    if any(info.type is GGMLType.Q2_0 for info in table) and lie(double=True) and not lie(double=False):
        raise cursor.error(
            "the tensors of type 42 lie as blocks of 128 weights in 34 bytes: the Q2_0 of PrismML's fork of llama.cpp, "
            "which shares no more than the number with llama.cpp's own; download a file made for llama.cpp"
        )


def _check_place(cursor: Cursor, info: TensorInfo, data_start: int, expected: int, alignment: int) -> None:
    what = f"the tensor {show(info.name)}"
    if info.offset % alignment:
        raise cursor.error(
            f"{what} has the offset {info.offset}, not a multiple of the alignment {alignment}; the file is damaged"
        )
    if info.offset != expected:
        how = "overlaps" if info.offset < expected else "leaves a gap behind"
        raise cursor.error(
            f"{what} has the offset {info.offset}, which {how} what comes before it (expected {expected}); "
            "the file is damaged"
        )
    end = data_start + info.offset + info.nbytes
    if info.nbytes and end > cursor.size:
        raise cursor.error(
            f"{what} ends at byte {end}, but the file has only {cursor.size}; it is truncated: download it again"
        )
