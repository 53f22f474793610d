"""llama.cpp's tensors as they stand in its graph: their names, what they were made from, and their numbers."""

from __future__ import annotations

import ctypes
import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ggufjac.errors import UserError
from ggufjac.llamacpp.library import TensorPrefix

Array = npt.NDArray[np.float32]

_I32: Final = 26
_BF16: Final = 30
_UNNAMED: Final = "node_"  # what ggml calls the tensors to which a graph gives no name, with their number
_WEIGHT: Final = re.compile(r"blk\.(\d+)\.(.+)\.weight")
_NUMBERS: Final[dict[int, Any]] = {  # enum ggml_type -> numpy
    0: np.float32,
    1: np.float16,
    24: np.int8,
    25: np.int16,
    _I32: np.int32,
    27: np.int64,
    28: np.float64,
    _BF16: np.uint16,
}


class GraphTensor:
    """One tensor of the graph that is being computed. Only good until the callback that was handed it returns."""

    def __init__(self, ggml: ctypes.CDLL, address: int) -> None:
        self._ggml = ggml
        self.address = address
        self._header = TensorPrefix.from_address(address)

    @property
    def name(self) -> str:
        text: str = self._ggml.ggml_get_name(self.address).decode("utf-8", "replace")
        return text

    @property
    def title(self) -> str:
        """Its name; where it has none, that of the weight whose product it is or was made from, and how it was made:
        "inp_gate.mul_mat-3", "ffn_gate.relu-3"."""
        origin: GraphTensor | None = self
        while origin is not None and origin.name.startswith(_UNNAMED) and origin.op != "MUL_MAT":
            origin = origin.source(0)
        if origin is None or not origin.name.startswith(_UNNAMED):
            return self.name
        weight = origin.source(0)
        match = None if weight is None else _WEIGHT.fullmatch(weight.name)
        made = self._ggml.ggml_op_desc(self.address).decode().lower()
        return f"{match[2]}.{made}-{match[1]}" if match else self.name

    @property
    def op(self) -> str:
        """What made it, in ggml's words ("MUL_MAT"); "NONE" for a weight or an input."""
        text: str = self._ggml.ggml_op_name(self._header.op).decode()
        return text

    def source(self, number: int) -> GraphTensor | None:
        """The tensor that its operation reads at this place, if any."""
        address = self._header.src[number]
        return GraphTensor(self._ggml, address) if address else None

    @property
    def width(self) -> int:
        """Entries along its innermost axis."""
        return int(self._header.ne[0])

    @property
    def matrices(self) -> int:
        """How many matrices its two outer axes count."""
        return int(self._header.ne[2] * self._header.ne[3])

    @property
    def root(self) -> GraphTensor:
        """The tensor whose memory this one shows: itself unless it is a view."""
        address = self._header.view_src
        return GraphTensor(self._ggml, address) if address else self

    def read(self, axes: int = 2) -> Array:
        """A copy as float32, the outermost axis first; outer axes of length 1 are dropped down to so many axes."""
        return np.ascontiguousarray(_widened(self._numbers(axes), self._header.type), dtype=np.float32)

    def read_integers(self) -> npt.NDArray[np.int64]:
        """The same of a tensor of indices, as int64."""
        return np.ascontiguousarray(self._numbers(2), dtype=np.int64)

    def _numbers(self, axes: int) -> npt.NDArray[Any]:
        """Its numbers as they are stored, strided or not, copied out of llama.cpp's memory."""
        header = self._header
        number = _NUMBERS.get(header.type)
        if number is None:
            kind = self._ggml.ggml_type_name(header.type).decode()
            raise UserError(f"llama.cpp's tensor {self.name} is stored as {kind}, not as plain numbers")
        # for a view, ggml_nbytes is the span from its first element to its last
        span = np.empty(self._ggml.ggml_nbytes(self.address), np.uint8)
        self._ggml.ggml_backend_tensor_get(self.address, span.ctypes.data, 0, span.size)
        array: npt.NDArray[Any] = np.ndarray(tuple(header.ne)[::-1], number, span, strides=tuple(header.nb)[::-1])
        while array.ndim > axes and array.shape[0] == 1:
            array = array[0]
        return array


def _widened(array: npt.NDArray[Any], kind: int) -> npt.NDArray[Any]:
    if kind == _BF16:  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
