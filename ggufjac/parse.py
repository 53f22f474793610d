"""Words of a command line as values. Each function raises ValueError with one line that says what would do."""

from __future__ import annotations

import math

#: What files of other encodings begin with; Notepad and PowerShell write them.
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def text(data: bytes) -> str:
    """The text of a file: UTF-8, or what its byte order mark says, which is no part of it."""
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and len(data) > 1 and any(not any(data[i:64:2]) for i in (0, 1)):
        raise ValueError("every second byte is zero, as in UTF-16 without a byte order mark; save it as UTF-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not {encoding[:6].upper()}: {error.reason} at byte {error.start}; save it as UTF-8"
        ) from None


def positive(text: str) -> int:
    """An integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ValueError(f"{text!r} is not a positive whole number")
    return value


def heads(text: str) -> int:
    """How many heads; a prompt may stand where the number would."""
    try:
        return positive(text)
    except ValueError as error:
        raise ValueError(f"{error}; a prompt stands before --heads, or behind --heads 10") from None


def whole(text: str) -> int:
    """An integer."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def seed(text: str) -> int:
    """An integer that random numbers can start from: 64 bits and a sign at most."""
    value = whole(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{text!r} is too large for a seed; give a number of at most 18 digits")
    return value


def byte_count(text: str) -> int:
    """Bytes, with an optional unit (8GiB, 512M, 2e9)."""
    body = text.strip().lower().removesuffix("b")
    number = body.rstrip("kmgti")
    try:
        value = int(float(number) * UNITS[body[len(number) :]])
    except (ValueError, KeyError, OverflowError):
        value = 0
    if value < 1:
        raise ValueError(f"{text!r} is not a size; write for example 8GiB or 512MiB")
    return value


def positions(text: str) -> tuple[int, ...]:
    """Whole numbers from 0 on, separated by commas, each once."""
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = (-1,)
    if min(found) < 0:
        raise ValueError(f"{text!r} is no list of positions; write for example 0,3,4")
    return found


def ranges(text: str) -> tuple[int, ...]:
    """Whole numbers and ranges of them (3,7,11 or 0-5,29)."""
    found: list[int] = []
    for word in text.split(","):
        first, dash, last = word.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{text!r} is no list of layers; write for example 3,7,11 or 0-5,29")
        found += range(int(first), int(last or first) + 1)
    if not found:
        raise ValueError(f"{text!r} names no layer")
    return tuple(found)


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise ValueError(f"{text!r} names no part; write for example layer,attn,mlp")
    return found


def layer_or_auto(text: str) -> int | None:
    """A layer's number, or auto (None)."""
    if text == "auto":
        return None
    if not text.isdigit():
        raise ValueError(f"{text!r} is no layer; give its number, from 0, or auto")
    return int(text)


def layers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them, each once."""
    numbers = [word.strip() for word in text.split(",")]
    if not all(number.isdigit() for number in numbers):
        raise ValueError(f"{text!r} is no list of layers; write for example 11,12,13")
    return tuple(dict.fromkeys(map(int, numbers)))


def strength(text: str) -> float:
    """A finite number that is not 0."""
    value = _number(text)
    if not math.isfinite(value) or value == 0:
        raise ValueError(f"{text!r} is no strength; give a number that is not 0, for example 1.0")
    return value


def temperature(text: str) -> float:
    """A finite number of at least 0."""
    value = _number(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text!r} is no temperature; give 0 or more")
    return value


def nats(text: str) -> float:
    """A finite number of at least 0."""
    value = _number(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text!r} is no divergence in nats; give 0 or more")
    return value


def share(text: str) -> float:
    """A number above 0 and at most 1."""
    value = _number(text)
    if not 0 < value <= 1:
        raise ValueError(f"{text!r} is no probability; give a number above 0 and at most 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
