"""Whether two files are quantisations of one model: the same network and vocabulary, other types of tensors."""

from __future__ import annotations

import os

import numpy as np

from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.readable import briefly

#: The tokens of a file.
TOKENS = "tokenizer.ggml.tokens"


def require_one_model(one: Model, other: Model) -> None:
    """Raise UserError with the first thing in which two files are not quantisations of one model."""
    a, b = one.file, other.file
    if os.path.realpath(a.path) == os.path.realpath(b.path):
        raise UserError(f"{a.path} was given twice; give two quantisations of one model")
    apart = _apart(one, other)
    if apart is not None:
        raise UserError(f"{a.path} and {b.path} are not two quantisations of one model: {apart}")


def _apart(one: Model, other: Model) -> str | None:
    a, b = one.file, other.file
    if a.architecture != b.architecture:
        return f"the architecture is {a.architecture} and {b.architecture}"
    first, second = one.family.source.asked, other.family.source.asked
    for key in sorted(first.keys() | second.keys()):
        if not _same(first.get(key), second.get(key)):
            return f"{key} is {_shown(first.get(key))} and {_shown(second.get(key))}"
    for name in (*a.tensors, *b.tensors):
        if name not in a.tensors or name not in b.tensors:
            return f"only {a.path if name in a.tensors else b.path} has the tensor {name!r}"
        shapes = a.tensors[name].shape, b.tensors[name].shape
        if shapes[0] != shapes[1]:
            told = " and ".join(" x ".join(map(str, shape)) for shape in shapes)
            return f"the tensor {name!r} has the shape {told}"
    if not _same(a.metadata.get(TOKENS), b.metadata.get(TOKENS)):
        return "their vocabularies differ"
    return None


def _same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and a == b


def _shown(value: object) -> str:
    return "missing" if value is None else briefly(str(value))
