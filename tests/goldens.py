"""What every kind of result said of one prompt of a small model, kept to show that nothing has moved.

    python tests/goldens.py    # write tests/golden/KIND.json anew; a changed number needs a reason in the changelog

The results are computed in float64, so that what differs between processors is far below what is compared.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ggufjac.analyses.common.result import Result
from ggufjac.maps.model import Model

FOLDER = Path(__file__).parent / "golden"
#: Fields that tell of the machine, of the moment, or of llama.cpp's own arithmetic, which is float32 and differs by
#: instruction set.
FREE = frozenset(
    {
        *("seconds", "version", "base", "flops_per_second", "bytes_per_second", "agreement", "llama", "judged"),
        *("exact", "theirs", "moves", "noise", "remainder", "first"),
    }
)
#: What an array is known by: its shape, its length, and its inner product with cosines of so many turns.
TURNS = 7.0


def golden(result: Result) -> dict[str, Any]:
    """A result as it is kept: its JSON, and of every array what it is known by."""
    return {**result.to_dict(), "arrays": {name: _known_by(array) for name, array in sorted(result.arrays.items())}}


def _known_by(array: torch.Tensor) -> list[Any]:
    flat = array.detach().cpu().double().flatten()
    weights = torch.linspace(0, TURNS, len(flat), dtype=torch.float64).cos()
    return [list(array.shape), float(flat.norm()), float(flat @ weights)]


def moved(was: Any, now: Any, path: str = "") -> Iterator[str]:
    """Where two such records differ by more than rounding."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            if key in FREE:
                continue
            if key not in was or key not in now:
                yield f"{path}.{key} is {'new' if key in now else 'gone'}"
            else:
                yield from moved(was[key], now[key], f"{path}.{key}")
    elif isinstance(was, list) and isinstance(now, list):
        if len(was) != len(now):
            yield f"{path} had {len(was)} entries and has {len(now)}"
        for i, (a, b) in enumerate(zip(was, now, strict=False)):
            yield from moved(a, b, f"{path}[{i}]")
    elif isinstance(was, float) and isinstance(now, float | int) and not isinstance(now, bool):
        if abs(was - now) > 1e-6 * max(1.0, abs(was)):
            yield f"{path} was {was!r} and is {now!r}"
    elif was != now:
        yield f"{path} was {was!r} and is {now!r}"


def main() -> None:
    from results import precise
    from tinymodels import make

    with tempfile.TemporaryDirectory() as folder:
        path = make("llama", Path(folder) / "llama.gguf", attention_bias=True, mlp_bias=True)
        with Model.open(path) as model:
            for kind, result in precise(model).items():
                text = json.dumps(golden(result), ensure_ascii=False, indent=1)
                (FOLDER / f"{kind}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
