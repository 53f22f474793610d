"""llama.cpp's own quantiser: the reference for what a weight of each type is."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import ModuleType

from ggufjac.errors import UserError
from ggufjac.llamacpp.library import library

_PREFIXES = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")


def quantize(source: Path, target: Path, ftype: int | str, pure: bool = False) -> None:
    """Write `source` (a GGUF of F32, F16 or BF16 weights) to `target` with its weights quantised by llama.cpp.

    ftype: a name ("Q4_K_M", "IQ4_NL", "F32") or a number of llama.h's `enum llama_ftype`. `pure`: the same type for
    every tensor instead of llama.cpp's mixture. The target appears only when it is complete.

    Raises UserError for an unknown type and for whatever llama.cpp refuses (most IQ1 and IQ2 types want an importance
    matrix).
    """
    loaded = library()
    if not source.is_file():
        raise UserError(f"{source}: no such file")
    params = loaded.api.llama_model_quantize_default_params()
    params.ftype = _ftype(loaded.api, ftype)
    params.pure = pure
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    loaded.log.clear()
    try:
        if loaded.api.llama_model_quantize(os.fsencode(source), os.fsencode(part), ctypes.byref(params)) != 0:
            raise UserError(f"{source}: llama.cpp cannot quantise this file to {ftype}: {loaded.log.reason()}")
        os.replace(part, target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _ftype(api: ModuleType, ftype: int | str) -> int:
    """The number of a file type, given by name or number."""
    known: dict[str, int] = {
        name.removeprefix(prefix): value
        for prefix in _PREFIXES
        for name, value in vars(api).items()
        if name.startswith(prefix)
    }
    number = known.get(ftype.upper()) if isinstance(ftype, str) else ftype
    if number is None or number not in known.values():
        raise UserError(
            f"llama.cpp has no file type {ftype!r}; choose one of {', '.join(sorted(known, key=known.__getitem__))}"
        )
    return number
