"""A weight matrix as it lies in the file: packed rows, never expanded as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ggufjac.quants import native
from ggufjac.reader.types import GGMLType

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ggufjac.quants.memory.pages import Pages


@dataclass(frozen=True, eq=False)
class QuantTensor:
    """A packed matrix W [n_out, n_in]: `data` is uint8 [n_out, row_bytes], usually a view into the mapped file.

    A stack of matrices (the experts of a layer) is one tall matrix; `rows` takes one of them out. first: the number of
    the first row within the tensor of that name. pages: of the file in which it lies, if it does.
    """

    name: str
    type: GGMLType
    n_in: int
    data: NDArray[np.uint8]
    first: int = 0
    pages: Pages | None = None

    @property
    def n_out(self) -> int:
        return int(self.data.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(n_out, n_in), as torch.nn.Linear counts."""
        return self.n_out, self.n_in

    @property
    def nbytes(self) -> int:
        """Bytes of the packed rows."""
        return int(self.data.nbytes)

    def rows(self, start: int, stop: int) -> QuantTensor:
        """The rows [start, stop) as a view; where a family fuses projections, this takes one of them out."""
        return replace(self, data=self.data[start:stop], first=self.first + start)

    @property
    def passes(self) -> bool:
        """Whether the weights are read anew for every visit, because memory does not hold all of the file."""
        return self.pages is not None and self.pages.passes(self.name)

    def leave(self) -> None:
        """Say that a sweep has visited the weights: the system may forget those that pass."""
        if self.pages is not None:
            self.pages.leave(self.name)

    def gather(self, ids: NDArray[np.int64], dtype: torch.dtype) -> torch.Tensor:
        """The rows with the given numbers, dequantised: [len(ids), n_in]. Used for token embeddings."""
        return _dequantize(self.type, np.ascontiguousarray(self.data[ids]), dtype)

    def dequantize(self, dtype: torch.dtype) -> torch.Tensor:
        """All weights [n_out, n_in]; meant for vectors and for tiles taken with `rows`."""
        return _dequantize(self.type, self.data, dtype)


def _dequantize(type_: GGMLType, data: NDArray[np.uint8], dtype: torch.dtype) -> torch.Tensor:
    import torch

    return torch.from_numpy(native.dequantize(type_, data)).to(dtype)
