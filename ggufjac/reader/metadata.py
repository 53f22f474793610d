"""The key-value section of a GGUF file: indexed when the file is opened, decoded when asked.

Opening walks the section once, because a GGUF file has no table of contents: the only way past an array of strings is
from one length to the next. What is kept of a pair is where it lies; the entries of a vocabulary are stepped over, and
decoded when somebody wants them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from ggufjac.reader.cursor import UINT32, UINT64, Cursor, bad_file, show

#: The specification's limits of a key (bytes); arrays of arrays of arrays ... end somewhere.
LONGEST_KEY = 65535
DEEPEST_ARRAY = 16

T = TypeVar("T")
D = TypeVar("D")
S = TypeVar("S", int, float, bool)


class ValueType(IntEnum):
    """The types of metadata values, numbered as in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


#: The fixed-size types as numpy reads them; a bool is a byte that is zero or not.
DTYPES: dict[ValueType, np.dtype[Any]] = {
    ValueType.UINT8: np.dtype("u1"),
    ValueType.INT8: np.dtype("i1"),
    ValueType.UINT16: np.dtype("<u2"),
    ValueType.INT16: np.dtype("<i2"),
    ValueType.UINT32: np.dtype("<u4"),
    ValueType.INT32: np.dtype("<i4"),
    ValueType.FLOAT32: np.dtype("<f4"),
    ValueType.BOOL: np.dtype("u1"),
    ValueType.UINT64: np.dtype("<u8"),
    ValueType.INT64: np.dtype("<i8"),
    ValueType.FLOAT64: np.dtype("<f8"),
}

#: The fewest bytes that a value of the types without a fixed size can take: a length; an element type and a count.
_SMALLEST = {ValueType.STRING: 8, ValueType.ARRAY: 12}


@dataclass(frozen=True)
class MetadataEntry:
    """Where one pair lies: bytes [start, end) of the file, its value (of an array: its first element) from `offset`."""

    type: ValueType
    item: ValueType | None
    count: int
    start: int
    offset: int
    end: int

    def __str__(self) -> str:
        if self.item is None:
            return self.type.name.lower()
        return f"array of {self.count} {self.item.name.lower()}"


def index_metadata(cursor: Cursor, n_pairs: int) -> Metadata:
    """Walk `n_pairs` key-value pairs from the cursor on. Raises UserError for anything that cannot be a pair."""
    entries: dict[str, MetadataEntry] = {}
    for number in range(n_pairs):
        start = cursor.position
        key = cursor.name(f"metadata key {number}", LONGEST_KEY)
        if not key:
            raise cursor.error(f"metadata key {number} is empty; the file is damaged")
        if key in entries:
            raise cursor.error(f"the metadata key {show(key)} is there twice; the file is damaged")
        what = f"the metadata value of {show(key)}"
        kind = _value_type(cursor, what)
        item = None
        count = 1
        if kind is ValueType.ARRAY:
            item, count = _array_header(cursor, what)
        offset = cursor.position
        _skip_values(cursor, kind if item is None else item, count, what, depth=1)
        entries[key] = MetadataEntry(kind, item, count, start, offset, cursor.position)
    return Metadata(cursor.path, cursor.data, entries)


def _value_type(cursor: Cursor, what: str) -> ValueType:
    number = cursor.uint32(f"the type of {what}")
    try:
        return ValueType(number)
    except ValueError:
        raise cursor.error(f"{what} has the unknown type {number} (types are 0 to 12); the file is damaged") from None


def _array_header(cursor: Cursor, what: str) -> tuple[ValueType, int]:
    item = _value_type(cursor, f"an element of {what}")
    smallest = _SMALLEST[item] if item in _SMALLEST else DTYPES[item].itemsize
    return item, cursor.count(f"the number of elements of {what}", smallest)


def _skip_values(cursor: Cursor, kind: ValueType, count: int, what: str, depth: int) -> None:
    if kind is ValueType.STRING:
        _skip_strings(cursor, count, what)
    elif kind is ValueType.ARRAY:
        if depth == DEEPEST_ARRAY:
            raise cursor.error(f"{what} nests arrays more than {DEEPEST_ARRAY} deep; the file is damaged")
        for _ in range(count):
            item, inner = _array_header(cursor, what)
            _skip_values(cursor, item, inner, what, depth + 1)
    else:
        cursor.skip(count * DTYPES[kind].itemsize, what)


def _skip_strings(cursor: Cursor, count: int, what: str) -> None:
    # The one loop that a large vocabulary makes long. Positions only grow, so one that has left the file either makes
    # the next read fail or is seen after the last.
    data = cursor.data
    position = cursor.position
    length = UINT64.unpack_from
    try:
        for _ in range(count):
            position += 8 + length(data, position)[0]
    except (struct.error, OverflowError):
        position = cursor.size + 1
    if position > cursor.size:
        raise cursor.error(f"{what} has strings that go past the end of the file; it is truncated or damaged")
    cursor.position = position


class Metadata(Mapping[str, Any]):
    """The metadata of a model, decoded on demand.

    Scalars come as int, float, bool and str; numeric arrays as read-only numpy arrays that view the mapped file (arrays
    of bool as a copy); arrays of strings as list[str], decoded once and shared: do not change them; arrays of arrays as
    lists of these. Text that is not UTF-8 is decoded with replacement characters, since llama.cpp accepts it too.
    """

    def __init__(self, path: Path, data: mmap, entries: dict[str, MetadataEntry]) -> None:
        self._path = path
        self._data = data
        self._strings: dict[str, list[str]] = {}
        self.entries: Mapping[str, MetadataEntry] = MappingProxyType(entries)

    def __getitem__(self, key: str) -> Any:
        entry = self.entries[key]
        if entry.item is None:
            return _scalar(self._data, entry.type, entry.offset)
        if entry.item is not ValueType.STRING:
            return _array(self._data, entry.item, entry.count, entry.offset)[0]
        if key not in self._strings:
            self._strings[key] = _strings(self._data, entry.count, entry.offset)[0]
        return self._strings[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, key: object) -> bool:
        return key in self.entries

    def array_length(self, key: str) -> int:
        """Elements of an array, without decoding it. Raises UserError when the key is missing or holds no array."""
        entry = self._entry(key)
        if entry.item is None:
            self._wrong(key, "an array")
        return entry.count

    def some_strings(self, key: str, wanted: Collection[int]) -> dict[int, str]:
        """Of an array of strings those with these numbers, as far as it has them; the others are not decoded. Raises
        UserError as `array_length`."""
        entry = self._entry(key)
        if entry.item is not ValueType.STRING:
            self._wrong(key, _KIND_NAMES[list])
        found: dict[int, str] = {}
        length, start = UINT64.unpack_from, entry.offset + 8
        for number in range(min(entry.count, max(wanted, default=-1) + 1)):
            stop = start + length(self._data, start - 8)[0]
            if number in wanted:
                found[number] = self._data[start:stop].decode(errors="replace")
            start = stop + 8
        return found

    def require(self, key: str, kind: type[T]) -> T:
        """The value of `key`, which must be there and be a `kind`.

        `kind` is int (any integer type; a bool is not one), float (finite), bool, str, np.ndarray (a numeric array) or
        list (an array of strings). Raises UserError naming the key otherwise.
        """
        self._entry(key)
        value = self[key]
        # Not isinstance: to Python a bool is an int.
        nested = self.entries[key].item is ValueType.ARRAY
        if type(value) is not kind or nested:
            self._wrong(key, _KIND_NAMES[kind])
        if isinstance(value, float) and not math.isfinite(value):
            raise bad_file(self._path, f"the metadata value of {show(key)} is {value}, not a finite number")
        return value

    def optional(self, key: str, kind: type[T], default: D) -> T | D:
        """As `require`, but `default` where the key is missing."""
        return self.require(key, kind) if key in self.entries else default

    def _entry(self, key: str) -> MetadataEntry:
        if key not in self.entries:
            raise bad_file(self._path, f"the metadata key {show(key)} is missing")
        return self.entries[key]

    def _wrong(self, key: str, wanted: str) -> NoReturn:
        found = self.entries[key]
        raise bad_file(self._path, f"the metadata value of {show(key)} must be {wanted}, but it is of type {found}")


_KIND_NAMES: dict[type, str] = {
    int: "an integer",
    float: "a float",
    bool: "a bool",
    str: "a string",
    list: "an array of strings",
    np.ndarray: "an array of numbers",
}


def _scalar(data: mmap, kind: ValueType, offset: int) -> int | float | bool | str:
    if kind is ValueType.STRING:
        (length,) = UINT64.unpack_from(data, offset)
        return data[offset + 8 : offset + 8 + length].decode(errors="replace")
    value: int | float = np.frombuffer(data, DTYPES[kind], 1, offset)[0].item()
    return bool(value) if kind is ValueType.BOOL else value


# The three below return what they decoded and the offset behind it, so that arrays can lie inside arrays.


def _array(data: mmap, item: ValueType, count: int, offset: int) -> tuple[NDArray[Any] | list[Any], int]:
    if item is ValueType.STRING:
        return _strings(data, count, offset)
    if item is ValueType.ARRAY:
        return _nested(data, count, offset)
    dtype = DTYPES[item]
    # numpy refuses an offset at the very end of a buffer, where an empty last array lies.
    values = np.frombuffer(data, dtype, count, offset) if count else np.empty(0, dtype)
    if item is ValueType.BOOL:
        values = values != 0
    values.flags.writeable = False
    return values, offset + count * dtype.itemsize


def _strings(data: mmap, count: int, offset: int) -> tuple[list[str], int]:
    strings = []
    length = UINT64.unpack_from
    for _ in range(count):
        start = offset + 8
        offset = start + length(data, offset)[0]
        strings.append(data[start:offset].decode(errors="replace"))
    return strings, offset


def _nested(data: mmap, count: int, offset: int) -> tuple[list[Any], int]:
    arrays = []
    for _ in range(count):
        (item,) = UINT32.unpack_from(data, offset)
        (inner,) = UINT64.unpack_from(data, offset + 4)
        array, offset = _array(data, ValueType(item), inner, offset + 12)
        arrays.append(array)
    return arrays, offset
