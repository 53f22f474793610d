"""Files of lenses: torch's .pt as lenses are published, and .safetensors.

A .pt is a dictionary in one of two forms: `J` {layer: matrix}, `n_prompts`, `source_layers`, `d_model`; or the state of
a fit, `jacobian_sum` {layer: matrix}, `n_done`. Under `ggufjac` lies what this program says of the lens besides. Only
tensors and plain values are read from it: code in a file is never run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ggufjac import atomic
from ggufjac.errors import UserError
from ggufjac.maps.lens.lens import Lens, LensOrigin, LensSum
from ggufjac.readable import briefly

OURS = "ggufjac"
SAFE = ".safetensors"
TORCH = ".pt"
#: How the files that torch writes begin: archives, and before them pickles.
BEGINNINGS = (b"PK", b"\x80")


def write_lens(lens: Lens, path: str | Path) -> None:
    """The lens as published ones are, in float16. Raises UserError where it cannot be written."""
    half = lens.half
    matrices = {layer: j.contiguous() for layer, j in half.jacobians.items()}
    about = _about(lens.origin, lens.squares)
    if Path(path).suffix == SAFE:
        _write_safe(path, {f"J.{layer}": j for layer, j in matrices.items()}, lens.n_prompts, about)
        return
    _write_torch(
        path,
        {
            "J": matrices,
            "n_prompts": lens.n_prompts,
            "source_layers": list(lens.layers),
            "d_model": lens.d_model,
            OURS: about,
        },
    )


def write_state(state: LensSum, path: str | Path) -> None:
    """A fit on its way, from which it can go on; readable as a lens. Raises UserError where it cannot be written."""
    about = _about(state.origin, state.squares)
    if Path(path).suffix == SAFE:
        _write_safe(path, {f"jacobian_sum.{layer}": s for layer, s in state.sums.items()}, state.n, about)
        return
    _write_torch(path, {"jacobian_sum": state.sums, "n_done": state.n, OURS: about})


def load_lens(path: str | Path) -> Lens:
    """The lens in a file of any of these forms. Raises UserError for whatever else a file holds; nothing in it runs."""
    if not Path(path).is_file():
        raise UserError(f"{path}: {'is a folder' if Path(path).is_dir() else 'there is no such file'}")
    if Path(path).suffix == SAFE:
        return _lens(_read_safe(path), path)
    with open(path, "rb") as file:
        if not file.read(2).startswith(BEGINNINGS):
            raise UserError(f"{path}: this is no lens that can be read (no file that torch wrote)")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file can hold; torch has no one error
        why = str(error).strip().split("\n")[0]
        if "weights_only" in str(error) or "Unsupported global" in str(error):
            why = "it holds more than tensors and plain values; none of it was run"
        raise UserError(f"{path}: this is no lens that can be read ({briefly(why)})") from None
    if not isinstance(found, Mapping):
        raise UserError(f"{path}: the file holds a {type(found).__name__} and no lens")
    return _lens(found, path)


def holds_lens(path: str | Path) -> bool:
    """Whether a file is a lens's, perhaps a damaged one: by its ending, and where files of results have the same, by
    what its tensors are called."""
    from safetensors import safe_open

    if Path(path).suffix != SAFE:
        return Path(path).suffix == TORCH
    try:
        with safe_open(str(path), framework="pt") as opened:
            return any(name.startswith(("J.", "jacobian_sum.")) for name in opened.keys())  # noqa: SIM118
    except Exception:  # whatever reads it in earnest says what is wrong with it
        return False


def _about(origin: LensOrigin, squares: Mapping[int, float]) -> dict[str, Any]:
    return {**asdict(origin), "squares": {str(layer): float(s) for layer, s in squares.items()}}


def _write_torch(path: str | Path, content: dict[str, Any]) -> None:
    def fill(place: Path) -> None:
        try:
            torch.save(content, place)
        except RuntimeError as error:  # what torch's own writer makes of a full disk
            raise OSError(None, briefly(str(error).split("\n")[0])) from None

    atomic.write(path, fill)


def _write_safe(path: str | Path, tensors: dict[str, Tensor], n: int, about: dict[str, Any]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def fill(place: Path) -> None:
        try:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()},
                place,
                metadata={OURS: json.dumps({"n": n, **about})},
            )
        except SafetensorError as error:
            raise OSError(None, briefly(str(error))) from None

    atomic.write(path, fill)


def _read_safe(path: str | Path) -> dict[str, Any]:
    """The same dictionary as a .pt has."""
    from safetensors import safe_open

    found: dict[str, Any] = {}
    try:
        with safe_open(str(path), framework="pt") as opened:
            about = json.loads((opened.metadata() or {}).get(OURS, "{}"))
            for name in opened.keys():  # noqa: SIM118
                kind, _, layer = name.rpartition(".")
                found.setdefault(kind, {})[int(layer)] = opened.get_tensor(name)
    except Exception as error:  # of whatever a file has that is no safetensors file
        raise UserError(f"{path}: this is no lens that can be read ({briefly(str(error))})") from None
    n = about.pop("n", None) if isinstance(about, dict) else None
    return {**found, "n_prompts": n, "n_done": n, OURS: about}


def _lens(found: Mapping[Any, Any], path: str | Path) -> Lens:
    key, count = ("J", "n_prompts") if "J" in found else ("jacobian_sum", "n_done")
    if key not in found:
        names = ", ".join(briefly(str(name), 40) for name in list(found)[:6]) or "nothing"
        raise UserError(f"{path}: the file holds no lens: neither 'J' nor 'jacobian_sum' is in it, but {names}")
    matrices, n = _matrices(found[key], key, path), found.get(count)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise UserError(f"{path}: the lens says {count} {briefly(repr(n), 40)}; it must be the number of its texts")
    if key == "jacobian_sum":
        matrices = {layer: s / n for layer, s in matrices.items()}
    origin, squares = _said(found.get(OURS))
    return Lens(dict(sorted(matrices.items())), n, origin, squares if squares.keys() == matrices.keys() else {})


def _matrices(given: Any, key: str, path: str | Path) -> dict[int, Tensor]:
    """Every matrix by its block. Raises UserError for what is none."""
    if not isinstance(given, Mapping) or not given:
        raise UserError(f"{path}: {key!r} of the lens must be a matrix for every block")
    found: dict[int, Tensor] = {}
    for name, matrix in given.items():
        layer = int(name) if isinstance(name, int) or (isinstance(name, str) and name.isdecimal()) else -1
        if isinstance(name, bool) or layer < 0:
            raise UserError(f"{path}: the lens has a matrix of {briefly(repr(name), 40)}, which is no block's number")
        if not isinstance(matrix, Tensor) or matrix.dim() != 2 or not matrix.numel() or not matrix.is_floating_point():
            raise UserError(f"{path}: what the lens has of block {layer} is no matrix of numbers")
        if matrix.layout != torch.strided or not bool(torch.isfinite(matrix).all()):
            raise UserError(f"{path}: the lens's matrix of block {layer} has entries that are no numbers")
        found[layer] = matrix.detach()
    if len({matrix.shape[0] for matrix in found.values()}) > 1:
        raise UserError(f"{path}: the matrices of the lens lead to streams of different widths")
    return found


def _said(about: Any) -> tuple[LensOrigin, dict[int, float]]:
    """What this program wrote of a lens; what it did not write, or not so, is as if it were not there."""
    if not isinstance(about, Mapping):
        return LensOrigin(), {}
    kinds = {item.name: type(item.default) for item in fields(LensOrigin)}
    known: dict[str, Any] = {
        name: value for name, value in about.items() if name in kinds and isinstance(value, kinds[name])
    }
    squares = about.get("squares")
    numbers = {
        int(layer): float(square)
        for layer, square in (squares.items() if isinstance(squares, Mapping) else ())
        if str(layer).isdecimal() and isinstance(square, float) and math.isfinite(square)
    }
    return LensOrigin(**known), numbers
