"""Which weights of a file that memory does not hold stay in the page cache from sweep to sweep, and which pass through.

Left to itself the system keeps what was read last. A sweep would then find a part of the layers in memory and wait for
the disk through all of the rest. With the layers that stay spread evenly over the network, the next one that has to be
read arrives while those before it compute; the others are let go after every visit, so that they push nothing out.
"""

from __future__ import annotations

from collections.abc import Sequence

from ggufjac.quants.memory.spread import evenly_spread
from ggufjac.reader import GGUFFile


class Pages:
    """The pages of one file. Until `arrange` finds that they do not all fit, nothing is let go."""

    def __init__(self, file: GGUFFile) -> None:
        self._file = file
        self._stay: frozenset[str] | None = None

    def fits(self, room: int) -> bool:
        """Whether the whole file has room in so many bytes."""
        return self._file.size <= room

    def arrange(self, layers: Sequence[Sequence[str]], room: int) -> None:
        """Keep what fits into `room` bytes of the tensors that every sweep reads, named layer by layer in their order.

        A layer stays as a whole or not at all; all other tensors of the file pass.
        """
        if self.fits(room):
            self._stay = None
            return
        sizes = [sum(self._file.tensors[name].nbytes for name in names) for names in layers]
        stay = (names for names, stays in zip(layers, evenly_spread(sizes, room), strict=True) if stays)
        self._stay = frozenset(name for names in stay for name in names)

    def passes(self, name: str) -> bool:
        """Whether a tensor is let go after every visit."""
        return self._stay is not None and name not in self._stay

    def leave(self, name: str) -> None:
        """Say that a tensor has been visited."""
        if self.passes(name):
            self._file.drop(name)
