"""ggufjac: the exact linear map behind a GGUF model's prediction.

`open(path)` gives a model; `model.linearize(text)` gives the map of one prompt; `analyze`, `layers`, `attribute` and
the others (ggufjac.api) give results. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "UserError",
    "__version__",
    "ablate",
    "analyze",
    "attribute",
    "compare",
    "explain",
    "extremes",
    "layers",
    "load",
    "open",
    "ordinary",
    "steer",
]

from ggufjac.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from ggufjac.analyses.result import load
    from ggufjac.api import ablate, analyze, attribute, compare, explain, extremes, layers, ordinary, steer
    from ggufjac.maps.model import Model


def open(path: str | Path, **options: Any) -> Model:
    """Open a GGUF model for analysis: a path, or any name that `ggufjac models` lists.

    Raises UserError when the file is malformed or its architecture is not supported.
    """
    from ggufjac.maps.model import Model
    from ggufjac.registry import resolve

    return Model.open(resolve(str(path)), **options)


def __getattr__(name: str) -> Any:
    """The analyses, and `load`, imported when they are first named."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = import_module("ggufjac.analyses.result" if name == "load" else "ggufjac.api")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
