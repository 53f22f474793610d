"""Which of the .gguf files in a folder are models, and how much a split one takes in all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# llama.cpp's gguf-split names its pieces NAME-00001-of-00003.gguf.
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
# Image projectors, and the bare vocabularies of llama.cpp's own tests: a model may well have "vocab" in its name.
_COMPANION = re.compile(r"(?:^|[-_.])mmproj(?:[-_.]|$)|^ggml-vocab-", re.IGNORECASE)
_IMATRIX = re.compile(r"(?:^|[-_.])imatrix(?:[-_.]|$)", re.IGNORECASE)
_WEIGHTS = re.compile(r"(?:^|[-_.])(?:i?q\d|tq\d|b?f16|f32|mxfp4|nvfp4)", re.IGNORECASE)
# How the types of the weights are written at the end of a name: Q4_K_M, UD-Q4_K_XL, IQ2_XXS, BF16, MXFP4_MOE.
_TYPE = re.compile(r"(?:^|[-_.])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|B?F16|F32|[MN][XV]FP4\w*))$", re.IGNORECASE)


@dataclass(frozen=True)
class ModelFile:
    """A model on disk: its file, or the first of its pieces; `size` is the bytes of all pieces."""

    path: Path
    size: int


def is_model(name: str) -> bool:
    """Whether a file of this name is a language model and not something that goes with one.

    Image projectors, bare vocabularies and importance matrices also are .gguf files. 'imatrix' in the name of
    quantised weights only says how they were made.
    """
    if not name.lower().endswith(".gguf") or _COMPANION.search(name):
        return False
    return not _IMATRIX.search(name) or bool(_WEIGHTS.search(name))


def is_shard(name: str) -> bool:
    """Whether a file of this name is one piece of a split model."""
    return _SHARD.fullmatch(name) is not None


def whole_stem(name: str) -> str:
    """The name of a file without its ending, and without the number of its piece."""
    shard = _SHARD.fullmatch(name)
    return shard["stem"] if shard else os.path.splitext(name)[0]


def weight_type(name: str) -> str | None:
    """The type of the weights as the end of a file's name has it, for names like llama.cpp's repository:type."""
    found = _TYPE.search(whole_stem(name))
    return found[1] if found else None


def model_files(paths: Iterable[Path]) -> list[ModelFile]:
    """The models among these files, sorted by path: the pieces of a split one as its first, if all are there.

    Files that are gone or cannot be looked at are left out.
    """
    whole: list[ModelFile] = []
    pieces: dict[tuple[Path, str, int], dict[int, ModelFile]] = {}
    for path in paths:
        if not is_model(path.name):
            continue
        try:
            found = ModelFile(path, os.stat(path).st_size)
        except OSError:
            continue
        shard = _SHARD.fullmatch(path.name)
        if shard:
            key = (path.parent, shard["stem"], int(shard["count"]))
            pieces.setdefault(key, {})[int(shard["number"])] = found
        else:
            whole.append(found)
    for (_, _, count), parts in pieces.items():
        if count and set(parts) == set(range(1, count + 1)):
            whole.append(ModelFile(parts[1].path, sum(part.size for part in parts.values())))
    return sorted(whole, key=lambda model: str(model.path))
