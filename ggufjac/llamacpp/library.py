"""The door to llama.cpp: loads the shared library once, silences it, and proves that its structs are the expected ones.

llama.cpp comes with llama-cpp-python. Only its ctypes layer is used; importing it takes a fifth of a second (its
package imports numpy and jinja2), so nothing here is imported before it is called.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ggufjac.errors import UserError
from ggufjac.llamacpp.distinct import require_distinct_tokens
from ggufjac.llamacpp.reasons import with_meaning

_ERROR_LEVEL: Final = 4  # GGML_LOG_LEVEL_ERROR
_CONTINUE_LEVEL: Final = 5  # GGML_LOG_LEVEL_CONT: more text for the line before
_TYPE_F16: Final = 1

#: Fields and functions that this bridge uses and that older releases of llama-cpp-python do not have.
_NEEDED_FIELDS: Final = {
    "llama_model_params": ("load_mode", "use_extra_bufts"),
    "llama_context_params": ("flash_attn_type", "op_offload", "cb_eval"),
}


class TensorPrefix(ctypes.Structure):
    """The first fields of ggml.h's `struct ggml_tensor`: `ne` elements, `nb` bytes of stride; innermost axis first.

    `op` made the tensor from the tensors at the addresses `src`; `view_src`: whose memory a view shows, or None.
    """

    _fields_ = [
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
    ]


class _InitParams(ctypes.Structure):
    """ggml.h's `struct ggml_init_params`."""

    _fields_ = [
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    ]


class ErrorLog(threading.local):
    """The last error lines that llama.cpp wrote while working for the calling thread."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=16)
        self._in_error = False

    def clear(self) -> None:
        """Forget all lines; called before each piece of work so that a reason belongs to it."""
        self._lines.clear()
        self._in_error = False

    def write(self, level: int, text: bytes) -> None:
        """Take one message of llama.cpp; anything below an error is dropped."""
        decoded = text.decode("utf-8", "replace")
        if level == _CONTINUE_LEVEL:
            if self._in_error and self._lines:
                self._lines[-1] += decoded
            return
        self._in_error = level == _ERROR_LEVEL
        if self._in_error:
            self._lines.append(decoded)

    def reason(self) -> str:
        """llama.cpp's own words in one line, the cause first; a stand-in when it said nothing."""
        said = [re.sub(r"^(\w+: )?(error loading model: )?", "", " ".join(line.split())) for line in self._lines]
        # callers further out only repeat that it failed
        told = [line for line in said if line and not re.match(r"(llama_model_loader: )?failed to load model\b", line)]
        return "; ".join(dict.fromkeys(told)) or "llama.cpp gave no reason"


@dataclass(frozen=True)
class Library:
    """llama.cpp, loaded: `api` is llama-cpp-python's ctypes module, `ggml` the handle that finds ggml's functions."""

    api: ModuleType
    ggml: ctypes.CDLL
    log: ErrorLog
    log_callback: object  # llama.cpp keeps only its address: it must live as long as the process


@functools.cache
def library() -> Library:
    """Load llama.cpp; every call returns the same object.

    llama.cpp has one log callback for the whole process, which is why it is set here and nowhere else, and stays set:
    putting an earlier one back after each call would race with other threads. It drops everything except the text of
    errors, which `ErrorLog.reason` turns into the message of a UserError.

    Raises UserError when llama-cpp-python is missing, too old, or lays out its tensors in an unknown way.
    """
    try:
        from llama_cpp import llama_cpp as api
    except ImportError as error:
        raise UserError(
            f"llama-cpp-python cannot be loaded ({error}); install it with: pip install llama-cpp-python"
        ) from error
    except (OSError, RuntimeError) as error:  # what its loader raises for a missing or foreign shared library
        raise UserError(f"llama.cpp's shared library cannot be loaded ({error}); reinstall llama-cpp-python") from error
    for struct, fields in _NEEDED_FIELDS.items():
        known = {name for name, *_ in getattr(api, struct)._fields_}
        if missing := [name for name in fields if name not in known]:
            raise UserError(
                f"llama-cpp-python {_package_version()} is too old ({struct} has no {', '.join(missing)}); "
                "upgrade it with: pip install -U llama-cpp-python"
            )
    # libllama's own handle also finds what the libraries it links export, except on Windows
    ggml = ctypes.CDLL("ggml-base") if sys.platform == "win32" else api._lib
    _declare(ggml)
    _check_tensor_layout(ggml)
    log = ErrorLog()
    callback = api.llama_log_callback(lambda level, text, _data: log.write(level, text))
    api.llama_log_set(callback, None)
    api.llama_backend_init()
    return Library(api, ggml, log, callback)


def supported_version() -> str:
    """Which llama.cpp is judge, for reports: "llama.cpp 0.5.0 (ggml 0.25.3, llama-cpp-python 0.3.36)"."""
    loaded = library()
    llama = loaded.api.llama_version().decode() if hasattr(loaded.api, "llama_version") else "of unknown version"
    return f"llama.cpp {llama} (ggml {loaded.ggml.ggml_version().decode()}, llama-cpp-python {_package_version()})"


def multiplies_by_tiles(api: ModuleType) -> bool:
    """Whether llama.cpp was built for a processor with AMX."""
    return b"AMX_INT8 = 1" in api.llama_print_system_info()


def load_model(
    path: str | os.PathLike[str], *, vocab_only: bool, repack: bool = False, called: str | None = None
) -> Handle:
    """A `llama_model` on the CPU, memory-mapped; freed when the handle is closed.

    repack: lay weights out anew for faster kernels, as llama.cpp does unless it is told not to; they are then copied
    into private memory, which a mapped file is there to avoid. called: as for `Runner`.

    Raises UserError with llama.cpp's own reason when it cannot load the file, and for repack where that means AMX:
    llama.cpp's products by its tiles ended the process with an illegal instruction (0.3.36 of llama-cpp-python, on a
    processor whose tiles work).
    """
    called = called or str(path)
    if not Path(path).is_file():
        raise UserError(f"{called}: no such file")
    require_distinct_tokens(path, called)
    loaded = library()
    if repack and multiplies_by_tiles(loaded.api):
        raise UserError("llama.cpp lays weights out for AMX on this processor, and crashes there; leave out --repack")
    params = loaded.api.llama_model_default_params()
    params.vocab_only = vocab_only
    params.n_gpu_layers = 0
    params.load_mode = loaded.api.LLAMA_LOAD_MODE_MMAP
    params.use_extra_bufts = repack
    loaded.log.clear()
    pointer = loaded.api.llama_model_load_from_file(os.fsencode(path), params)
    if not pointer:
        raise UserError(f"{called}: llama.cpp cannot load this file: {with_meaning(loaded.log.reason())}")
    return Handle(pointer, loaded.api.llama_model_free)


class Handle:
    """A pointer that llama.cpp must free exactly once: at `close`, or when nothing refers to the handle any more.

    `uses`: the handle of what this object points into, so that collecting both frees this one first.
    """

    def __init__(self, pointer: Any, free: Callable[[Any], None], uses: Handle | None = None) -> None:
        self._pointer = pointer
        self._uses = uses
        self._finalizer = weakref.finalize(self, free, pointer)

    @property
    def pointer(self) -> Any:
        """The ctypes pointer; ValueError once it was freed."""
        if not self._finalizer.alive:
            raise ValueError("this llama.cpp object has been closed")
        return self._pointer

    def close(self) -> None:
        """Free the object; further calls do nothing."""
        self._finalizer()


def _package_version() -> str:
    try:
        return metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _declare(ggml: ctypes.CDLL) -> None:
    """The C prototypes (ggml.h, ggml-backend.h) of the functions of ggml that llama-cpp-python does not declare."""
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    prototypes: dict[str, tuple[Any, list[Any]]] = {
        "ggml_version": (ctypes.c_char_p, []),
        "ggml_init": (pointer, [_InitParams]),
        "ggml_free": (None, [pointer]),
        "ggml_new_tensor_4d": (pointer, [pointer, ctypes.c_int, *[ctypes.c_int64] * 4]),
        "ggml_permute": (pointer, [pointer, pointer, *[ctypes.c_int] * 4]),
        "ggml_set_name": (pointer, [pointer, ctypes.c_char_p]),
        "ggml_get_name": (ctypes.c_char_p, [pointer]),
        "ggml_type_name": (ctypes.c_char_p, [ctypes.c_int]),
        "ggml_op_name": (ctypes.c_char_p, [ctypes.c_int]),
        "ggml_op_desc": (ctypes.c_char_p, [pointer]),
        "ggml_nbytes": (size, [pointer]),
        "ggml_backend_tensor_get": (None, [pointer, pointer, size, size]),
    }
    for name, (restype, argtypes) in prototypes.items():
        try:
            function = getattr(ggml, name)
        except AttributeError as error:
            raise UserError(
                f"llama-cpp-python {_package_version()} does not export {name}; "
                "reinstall it with: pip install -U --force-reinstall llama-cpp-python"
            ) from error
        function.restype, function.argtypes = restype, argtypes


def _check_tensor_layout(ggml: ctypes.CDLL) -> None:
    """Make a small permuted tensor through ggml's functions and read it through TensorPrefix: the two must agree."""
    context = ggml.ggml_init(_InitParams(mem_size=16384, mem_buffer=None, no_alloc=True))
    if not context:
        raise MemoryError("ggml_init failed")
    try:
        plain = ggml.ggml_new_tensor_4d(context, _TYPE_F16, 2, 3, 5, 7)
        tensor = ggml.ggml_permute(context, plain, 1, 0, 2, 3)
        seen = TensorPrefix.from_address(tensor)
        agrees = (
            seen.type == _TYPE_F16
            and tuple(seen.ne) == (3, 2, 5, 7)
            and tuple(seen.nb) == (4, 2, 12, 60)
            and ggml.ggml_nbytes(tensor) == 2 * 2 * 3 * 5 * 7
            and ggml.ggml_op_name(seen.op) == b"PERMUTE"
            and (seen.src[0], seen.src[1], seen.view_src) == (plain, None, plain)
        )
    finally:
        ggml.ggml_free(context)
    if not agrees:
        raise UserError(
            f"llama-cpp-python {_package_version()} lays out ggml_tensor in a way that ggufjac does not know; "
            "install the release that ggufjac was tested with: pip install llama-cpp-python==0.3.36"
        )
