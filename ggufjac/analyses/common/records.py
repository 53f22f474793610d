"""Frozen dataclasses to plain JSON values and back, so that a saved result is the result."""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

#: The key in a field's metadata that marks it as arrays, which are kept apart from the plain values.
ARRAYS = "arrays"


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and dicts as dicts and lists that json can write; numbers that are not finite are None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field for field in dataclasses.fields(value) if not field.metadata.get(ARRAYS))
        return {field.name: to_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def from_plain(kind: type[T], value: Any) -> T:
    """The inverse of `to_plain`; fields with a default may be missing.

    Raises KeyError, TypeError or ValueError when the value is not of this kind.
    """
    built: T = _build(kind, value)
    return built


def _build(kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = [argument for argument in arguments if argument is not type(None)]
        return _build(kind, value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        plain = [field for field in dataclasses.fields(kind) if not field.metadata.get(ARRAYS)]
        hints = get_type_hints(kind) if plain else {}
        # a field with a default may be younger than the value
        given = [field for field in plain if field.name in value or not _has_default(field)]
        return kind(**{field.name: _build(hints[field.name], value[field.name]) for field in given})
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in value)
    if origin is dict:
        return {key: _build(arguments[1], item) for key, item in value.items()}
    if kind is float and value is None:  # JSON has no word for what is not finite
        return math.nan
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, found {value!r}")
    return value


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
