"""llama.cpp's control vectors: GGUF files of one vector per layer, which it adds to the stream while it runs.

`general.architecture` is "controlvector"; the tensor `direction.<k>`, F32 with one dimension, is added to what leaves
block k, counted from 0, at every position. There is none for block 0, which llama.cpp cannot steer. Layers without a
tensor are left alone. (common_control_vector_load in llama.cpp's common.cpp, llama_adapter_cvec in llama-adapter.cpp.)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ggufjac import atomic
from ggufjac.errors import UserError
from ggufjac.reader import GGUFFile
from ggufjac.reader.types import GGMLType

ARCHITECTURE = "controlvector"
HINT = f"{ARCHITECTURE}.model_hint"
PREFIX = "direction."
#: Architectures whose graphs in llama.cpp add no control vector, so that a file would do nothing, without a word; and
#: those that add one only in layers with an MLP.
DEAF, MLP_ALONE = frozenset({"hy_v4", "plamo2", "qwen4exp"}), frozenset({"nemotron_h", "nemotron_h_moe"})


def steered_layers(file: GGUFFile, n_layer: int) -> tuple[int, ...]:
    """The layers of a model to which llama.cpp adds control vectors (every architecture was tried)."""
    if file.architecture in DEAF:
        return ()
    layers = range(1, n_layer)
    if file.architecture in MLP_ALONE:
        return tuple(i for i in layers if any(name.startswith(f"blk.{i}.ffn_") for name in file.tensors))
    return tuple(layers)


@dataclass(frozen=True)
class ControlFile:
    """directions: layer, from 1 on -> the vector [d] float32. model_hint: the architecture that it was made for."""

    directions: Mapping[int, NDArray[np.float32]]
    model_hint: str

    def write(self, target: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all. Raises UserError where llama.cpp could not use it or where the place
        cannot be written."""
        self._check(target)

        def fill(path: Path) -> None:
            from gguf import GGUFWriter

            writer = GGUFWriter(path, ARCHITECTURE)
            writer.add_string(HINT, self.model_hint)
            writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(self.directions))
            for layer, direction in sorted(self.directions.items()):
                writer.add_tensor(f"{PREFIX}{layer}", np.ascontiguousarray(direction, np.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()

        atomic.write(os.fspath(target), fill)

    @classmethod
    def read(cls, source: str | os.PathLike[str]) -> ControlFile:
        """Raises UserError for a file that is no control vector or that llama.cpp would not take."""
        with GGUFFile.open(Path(source)) as file:
            if file.architecture != ARCHITECTURE:
                raise UserError(f"{source}: this is no control vector; its architecture is {file.architecture!r}")
            directions: dict[int, NDArray[np.float32]] = {}
            for name, info in file.tensors.items():
                number = name.removeprefix(PREFIX)
                if number == name or not number.isdigit():
                    raise UserError(f"{source}: the tensor {name!r} is no direction of a layer")
                if info.type != GGMLType.F32 or len(info.plain_shape) != 1:
                    raise UserError(f"{source}: the tensor {name!r} must be F32 with one dimension")
                directions[int(number)] = file.data(name).view(np.float32).flatten()
            hint = file.metadata.get(HINT)
        found = cls(directions, hint if isinstance(hint, str) else "")
        found._check(source)
        return found

    def _check(self, where: str | os.PathLike[str]) -> None:
        if not self.directions:
            raise UserError(f"{where}: a control vector needs the direction of one layer at least")
        if min(self.directions) < 1:
            raise UserError(f"{where}: llama.cpp cannot steer block 0; directions are counted from 1")
        if len({direction.shape for direction in self.directions.values()}) > 1:
            raise UserError(f"{where}: the directions of a control vector must have the same length")
        if not all(np.isfinite(direction).all() for direction in self.directions.values()):
            raise UserError(f"{where}: the directions of a control vector must be finite")
