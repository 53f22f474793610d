"""What a family reads from a file: hyper-parameters under its architecture's prefix, and tensors checked for shape."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from ggufjac.errors import UserError
from ggufjac.quants.memory.pages import Pages
from ggufjac.quants.memory.store import DeviceWeights, Placed
from ggufjac.quants.tensor import QuantTensor
from ggufjac.reader.tensors import plain
from ggufjac.reader.types import INTEGERS, GGMLType

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ggufjac.reader import GGUFFile, TensorInfo


#: How the names begin of what sees, hears and guesses the tokens after the next one, where Ollama keeps it in the
#: model's own file: text passes none of it.
TOWERS = {"v.": "vision", "mm.": "vision", "a.": "audio", "mtp.": "multi-token prediction"}


class Source:
    """Typed access to one file. Everything missing or contradictory raises UserError naming the file and the key.

    notes: what a reader of any result should know of the file.
    """

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.architecture = file.architecture
        self.pages = Pages(file)
        self._placed: dict[torch.device, tuple[int | None, Placed]] = {}
        self._read: set[str] = set()
        self._named: dict[str, list[str]] = {}
        self._values_of: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._assumed: dict[str, float] = {}
        self._asked: set[str] = set()
        self.notes: list[str] = []

    # --- hyper-parameters -------------------------------------------------------------------------------------

    def integer(self, key: str, default: int | None = None) -> int:
        """An integer; `default` None makes the key required."""
        value = self._get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._unfit(key, value, "an integer")
        return value

    def count(self, key: str, default: int | None = None) -> int:
        """An integer of at least 1."""
        value = self.integer(key, default)
        if value < 1:
            raise self._unfit(key, value, "at least 1")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite float."""
        value = self._get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._unfit(key, value, "a finite number")
        return float(value)

    def positive(self, key: str, default: float | None = None) -> float:
        """A finite float above 0."""
        value = self.number(key, default)
        if value <= 0:
            raise self._unfit(key, value, "above 0")
        return value

    def text(self, key: str, default: str) -> str:
        value = self._get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._unfit(key, value, "a string")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, bool):
            raise self._unfit(key, value, "true or false")
        return value

    def per_layer(self, key: str, layer: int, default: int | None = None) -> int:
        """An integer that a file gives once, or once per layer."""
        value = self._get(key)
        if not isinstance(value, list | np.ndarray):
            return self.integer(key, default)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iub":
            raise self._unfit(key, "an array of something else", "an integer, or one per layer")
        if layer >= len(value):
            raise self._unfit(key, f"{len(value)} entries", f"one per layer (layer {layer} has none)")
        return int(value[layer])

    def integers(self, key: str, n: int | None = None) -> list[int]:
        """An array of integers, n of them (None: any number)."""
        value = self._get(key)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
            raise self._unfit(key, None if value is None else "something else", "an array of integers")
        if n is not None and len(value) != n:
            raise self._unfit(key, f"{len(value)} entries", f"an array of {n} integers")
        return [int(entry) for entry in value]

    def sections(self) -> list[int]:
        """How many pairs rotate by time, height, width and by no position; files of Ollama's leave out the last."""
        key = "rope.dimension_sections"
        value = self._get(key)
        n = len(value) if isinstance(value, list | np.ndarray) else 4
        return [self.per_layer(key, k) if k < n else 0 for k in range(4)]

    def number_of_layer(self, key: str, layer: int) -> float:
        """A finite float that a file gives once, or once per layer, under a key without the architecture's prefix."""
        value = self.file.metadata.get(key)
        if isinstance(value, list | np.ndarray):
            value = value[layer] if layer < len(value) else None
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
            raise UserError(f"{self.file.path}: the key {key!r} has no finite number for layer {layer}")
        return float(value)

    def has_key(self, key: str) -> bool:
        self._asked.add(key)
        return self._full(key) in self.file.metadata

    def assume(self, values: Mapping[str, float], why: str) -> None:
        """What keys are that the file leaves out. A note says it, and why."""
        missing = {key: value for key, value in values.items() if not self.has_key(key)}
        self._assumed.update(missing)
        told = ", ".join(f"{key} ({value:g} is assumed)" for key, value in missing.items())
        self.note(f"the file leaves out {told}: {why}")

    def note(self, text: str) -> None:
        """Something that a reader should know of the file, once."""
        if text not in self.notes:
            self.notes.append(text)

    def unasked(self, ending: str) -> list[str]:
        """The architecture's keys that end so and that nothing asked for."""
        own = f"{self.architecture}."
        names = (key.removeprefix(own) for key in self.file.metadata if key.startswith(own))
        return [name for name in names if name.endswith(ending) and name not in self._asked]

    @property
    def asked(self) -> Mapping[str, object]:
        """What the file says under every key of its architecture that was asked for, by the key's whole name."""
        return {self._full(key): self._get(key) for key in sorted(self._asked)}

    def is_array(self, key: str) -> bool:
        return isinstance(self._get(key), list | np.ndarray)

    def _full(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def _get(self, key: str) -> object:
        self._asked.add(key)
        return self.file.metadata.get(self._full(key), self._assumed.get(key))

    def _unfit(self, key: str, value: object, wanted: str) -> UserError:
        found = "is missing" if value is None else f"is {value!r}"
        return UserError(f"{self.file.path}: the key {self._full(key)!r} {found}; it must be {wanted}")

    # --- tensors ----------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        return name in self.file.tensors

    def packed(self, prefix: str, store: DeviceWeights | None = None) -> Iterator[NDArray[np.uint8]]:
        """The bytes of the matrices whose names begin so, without those of experts, of which few are read, and without
        what a device has already."""
        for name in self._under(prefix):
            if len(self.file.tensors[name].plain_shape) == 2 and (store is None or not store.holds(name)):
                yield self.file.data(name)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.file.tensors.values())

    def placed(self, device: torch.device, memory: int | None = None) -> Placed:
        """The weights on a device, where everything may take `memory` bytes (None: `default_budget`).

        Whoever asks for the same gets the same, so that weights which stay on a device are there once.
        """
        if device.type == "cpu":
            return Placed.on(device, memory, self.weight_bytes)
        asked, found = self._placed.get(device, (None, None))
        if found is None or asked != memory:
            self._placed.pop(device, None)  # what stays there for the one before makes room
            found = Placed.on(device, memory, self.weight_bytes)
            self._placed[device] = memory, found
        return found

    @cached_property
    def empty_matrices(self) -> list[str]:
        """The matrices that hold nothing but zeros, as the holes of an unfinished download do."""
        found = []
        for name, info in self.file.tensors.items():
            if len(info.plain_shape) < 2 or info.type in INTEGERS:
                continue
            data = self.file.data(name)
            some = data[[0, len(data) // 2, len(data) - 1]]  # three rows tell most of them
            if not some.any() and not data.any():
                found.append(name)
        return found

    def passes(self, prefix: str) -> bool:
        """Whether any of the tensors whose names begin so is let go after a visit."""
        return any(map(self.pages.passes, self._under(prefix)))

    def leave(self, prefix: str) -> None:
        """Say that the tensors whose names begin so have been visited."""
        for name in self._under(prefix):
            self.pages.leave(name)

    def _under(self, prefix: str) -> list[str]:
        """The tensors whose names begin so; a text that goes on asks for those of every layer at every token."""
        if prefix not in self._named:
            self._named[prefix] = [name for name in self.file.tensors if name.startswith(prefix)]
        return self._named[prefix]

    def matrix(self, name: str, n_out: int, n_in: int) -> QuantTensor:
        """The packed matrix [n_out, n_in] called `name`."""
        return self._tensor(name, (n_out, n_in))

    def matrix_of_rows(self, name: str, n_in: int) -> QuantTensor:
        """The packed matrix [any number of rows, n_in] called `name`."""
        info = self.file.tensors.get(name)
        return self._tensor(name, (info.rows if info is not None else 0, n_in))

    def stack(self, name: str, n: int, n_out: int, n_in: int) -> QuantTensor:
        """The packed matrices [n, n_out, n_in] called `name` as one tall matrix [n * n_out, n_in]."""
        return self._tensor(name, (n, n_out, n_in))

    def vector(self, name: str, n: int) -> Tensor:
        """The vector [n] called `name`, as float32."""
        return self._values(name, (n,))

    def table(self, name: str, *shape: int) -> Tensor:
        """The small table of this shape called `name`, as float32: the biases of experts and the like."""
        return self._values(name, shape)

    def flat(self, name: str, *shape: int) -> Tensor:
        """The table of this shape called `name` as one vector, which a file may hold as such."""
        info, n = self.file.tensors.get(name), math.prod(shape)
        whole = info is None or info.plain_shape == plain((n,))
        return self.vector(name, n) if whole else self.table(name, *shape).flatten()

    def _values(self, name: str, shape: tuple[int, ...]) -> Tensor:
        import torch

        if (name, shape) not in self._values_of:  # layers that share it know it by being the same
            self._values_of[name, shape] = self._tensor(name, shape).dequantize(torch.float32).reshape(shape)
        return self._values_of[name, shape]

    def integer_table(self, name: str, *shape: int) -> Tensor:
        """The table of integers of this shape called `name`, as int64."""
        import torch

        info = self._info(name, shape)
        if info.type != GGMLType.I32:
            raise UserError(f"{self.file.path}: the tensor {name!r} has the type {info.type.name}; it must be I32")
        return torch.from_numpy(self.file.data(name).view(np.int32).astype(np.int64).reshape(shape))

    def optional_vector(self, name: str, n: int) -> Tensor | None:
        return self.vector(name, n) if self.has(name) else None

    def skip(self, prefix: str) -> None:
        """Leave the tensors whose names start so out of the map: they are known, and do not reach the logits."""
        self._read.update(name for name in self.file.tensors if name.startswith(prefix))

    def skip_predictor(self, i: int) -> None:
        """Leave out block i, which guesses the tokens after the next one.

        Raises UserError where it has the tensors of an ordinary block alone.
        """
        mine = list(self._under(f"blk.{i}."))
        if mine and not any(name.startswith(f"blk.{i}.nextn.") for name in mine):
            n, k = self.count("block_count"), self.integer("nextn_predict_layers", 0)
            raise UserError(
                f"{self.file.path}: {self._full('nextn_predict_layers')} is {k}, so of {n} blocks the last {k} should "
                f"guess later tokens, but block {i} has no nextn tensors: it is an ordinary block, and one of the two "
                "numbers is wrong"
            )
        self.skip(f"blk.{i}.")

    def skip_towers(self) -> None:
        """Leave out the parts that text does not pass; a note says so."""
        found: dict[str, int] = {}
        for name in self.file.tensors:
            kind = next((kind for prefix, kind in TOWERS.items() if name.startswith(prefix)), None)
            if kind is not None and name not in self._read:
                found[kind] = found.get(kind, 0) + 1
                self._read.add(name)
        if found:
            told = " and ".join(f"{n} tensor{'s' * (n > 1)} of {kind}" for kind, n in found.items())
            self.note(
                f"{told} left out: only the text part is explained; llama.cpp loads no file that holds both, so it "
                "cannot judge this one"
            )

    def refuse_unread(self) -> None:
        """Raise UserError if the file has tensors that were never asked for: it is no model of this kind then."""
        # One without elements is a converter's flag, and can change nothing.
        unread = [name for name, info in self.file.tensors.items() if name not in self._read and info.n_weights]
        if unread:
            more = f" and {len(unread) - 1} more are" if len(unread) > 1 else " is"
            raise UserError(
                f"{self.file.path}: the tensor {unread[0]!r}{more} not part of a {self.architecture} model as it is "
                "known here, so the results would be wrong"
            )

    def _tensor(self, name: str, shape: tuple[int, ...]) -> QuantTensor:
        info = self._info(name, shape)
        if info.type in INTEGERS:
            raise UserError(
                f"{self.file.path}: the tensor {name!r} has the type {info.type.name}, which holds no weights"
            )
        return QuantTensor(name, GGMLType(info.type), shape[-1], self.file.data(name), pages=self.pages)

    def _info(self, name: str, shape: tuple[int, ...]) -> TensorInfo:
        """What the file says of a tensor, which must have this shape."""
        self._read.add(name)
        info = self.file.tensors.get(name)
        if info is None:
            raise UserError(f"{self.file.path}: the tensor {name!r} is missing; {self.architecture} models need it")
        if not info.n_weights:
            raise UserError(f"{self.file.path}: the tensor {name!r} is empty ({_times(info.shape)})")
        if info.plain_shape != plain(shape):
            raise UserError(
                f"{self.file.path}: the tensor {name!r} has the shape {_times(info.shape)}; "
                f"the file's own keys say {_times(shape)}"
            )
        return info


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
