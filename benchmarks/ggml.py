"""llama.cpp's own product with a packed matrix, to be timed beside ours: one node of a ggml graph.

It rounds the activations to 8 bits (quantised weights) or 16 (16-bit weights) and sums in integers, so it computes
something cheaper and less exact.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufjac.llamacpp.library import library
from ggufjac.reader.types import GGMLType

#: Room in the context beside the tensors: headers, the graph, and what the product rounds its input into.
SPARE = 16 << 20


class _InitParams(ctypes.Structure):
    """ggml.h's `struct ggml_init_params`."""

    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


class GgmlProduct:
    """out [m, rows] = x [m, cols] W^T by ggml on its CPU backend; a context manager, since the memory is ggml's."""

    def __init__(self, type: GGMLType, data: NDArray[np.uint8], x: NDArray[np.float32], threads: int) -> None:
        self._ggml = _functions()
        (m, cols), rows = x.shape, data.shape[0]
        wanted = data.nbytes + 4 * x.nbytes + 8 * m * rows + SPARE
        self._context = self._ggml.ggml_init(_InitParams(mem_size=wanted, mem_buffer=None, no_alloc=False))
        if not self._context:
            raise MemoryError("ggml_init failed")
        w = self._filled(self._ggml.ggml_new_tensor_2d(self._context, int(type), cols, rows), data)
        b = self._filled(self._ggml.ggml_new_tensor_2d(self._context, int(GGMLType.F32), cols, m), x)
        self._out, self._shape, self._threads = self._ggml.ggml_mul_mat(self._context, w, b), (m, rows), threads
        self._graph = self._ggml.ggml_new_graph(self._context)
        self._ggml.ggml_build_forward_expand(self._graph, self._out)
        self._work = self._ggml.ggml_graph_plan(self._graph, threads, None)
        self._buffer = ctypes.create_string_buffer(max(1, self._work.work_size))
        self._work.work_data = ctypes.addressof(self._buffer)

    def __enter__(self) -> GgmlProduct:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ggml.ggml_free(self._context)

    def run(self) -> None:
        status = self._ggml.ggml_graph_compute(self._graph, ctypes.byref(self._work))
        if status:
            raise RuntimeError(f"ggml's graph ended with status {status}")

    def result(self) -> NDArray[np.float32]:
        """A copy of what the last run computed."""
        numbers = (ctypes.c_float * int(np.prod(self._shape))).from_address(self._ggml.ggml_get_data(self._out))
        return np.array(numbers, np.float32).reshape(self._shape)

    def _filled(self, tensor: int, data: NDArray[Any]) -> int:
        if self._ggml.ggml_nbytes(tensor) != data.nbytes:
            raise ValueError(f"ggml's tensor has {self._ggml.ggml_nbytes(tensor)} bytes, the matrix {data.nbytes}")
        ctypes.memmove(self._ggml.ggml_get_data(tensor), np.ascontiguousarray(data).ctypes.data, data.nbytes)
        return tensor


class _Plan(ctypes.Structure):
    """ggml-cpu.h's `struct ggml_cplan`."""

    _fields_ = [
        ("work_size", ctypes.c_size_t),
        ("work_data", ctypes.c_void_p),
        ("n_threads", ctypes.c_int),
        ("threadpool", ctypes.c_void_p),
        ("abort_callback", ctypes.c_void_p),
        ("abort_callback_data", ctypes.c_void_p),
        ("use_ref", ctypes.c_bool),
    ]


def _functions() -> ctypes.CDLL:
    """A handle of its own on the library that llama-cpp-python loads, with the prototypes that are needed here."""
    ggml = ctypes.CDLL(library().ggml._name)
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    prototypes: dict[str, tuple[Any, list[Any]]] = {
        "ggml_init": (pointer, [_InitParams]),
        "ggml_free": (None, [pointer]),
        "ggml_new_tensor_2d": (pointer, [pointer, ctypes.c_int, number, number]),
        "ggml_nbytes": (ctypes.c_size_t, [pointer]),
        "ggml_get_data": (pointer, [pointer]),
        "ggml_mul_mat": (pointer, [pointer, pointer, pointer]),
        "ggml_new_graph": (pointer, [pointer]),
        "ggml_build_forward_expand": (None, [pointer, pointer]),
        "ggml_graph_plan": (_Plan, [pointer, ctypes.c_int, pointer]),
        "ggml_graph_compute": (ctypes.c_int, [pointer, pointer]),
    }
    for name, (result, arguments) in prototypes.items():
        function = getattr(ggml, name)
        function.restype, function.argtypes = result, arguments
    return ggml
