"""ggufjac: the exact linear map behind a GGUF model's prediction.

`open(path)` gives a model; `model.linearize(text)` gives the map of one prompt; `analyze`, `layers`, `attribute` and
the others (ggufjac.api) give results. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufjac.errors import UserError
from ggufjac.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from ggufjac.analyses.common.result import Result
    from ggufjac.api import (
        ablate,
        analyze,
        answer,
        attribute,
        compare,
        compare_tensors,
        explain,
        extremes,
        fit_lens,
        layers,
        load,
        load_lens,
        ordinary,
        patch,
        read_lens,
        steer,
        steer_pairs,
        steer_words,
    )
    from ggufjac.chat.prompt import Message, Prompt
    from ggufjac.maps.detached import DetachedMap
    from ggufjac.maps.model import Model

#: Public names that are imported when they are first named, and where they are.
_HOMES = {
    **dict.fromkeys(
        (
            "ablate",
            "analyze",
            "answer",
            "attribute",
            "compare",
            "compare_tensors",
            "explain",
            "extremes",
            "fit_lens",
            "layers",
            "load",
            "load_lens",
            "ordinary",
            "patch",
            "read_lens",
            "steer",
            "steer_pairs",
            "steer_words",
        ),
        "ggufjac.api",
    ),
    "DetachedMap": "ggufjac.maps.detached",
    "Message": "ggufjac.chat.prompt",
    "Model": "ggufjac.maps.model",
    "Prompt": "ggufjac.chat.prompt",
    "Result": "ggufjac.analyses.common.result",
}

__all__ = [
    "DetachedMap",
    "Message",
    "Model",
    "Prompt",
    "Result",
    "UserError",
    "__version__",
    "ablate",
    "analyze",
    "answer",
    "attribute",
    "compare",
    "compare_tensors",
    "explain",
    "extremes",
    "fit_lens",
    "layers",
    "load",
    "load_lens",
    "open",
    "ordinary",
    "patch",
    "read_lens",
    "steer",
    "steer_pairs",
    "steer_words",
]


def open(path: str | Path) -> Model:
    """Open a GGUF model for analysis: a path, or any name that `ggufjac models` lists.

    Raises UserError when the file is malformed or its architecture is not supported.
    """
    from ggufjac.maps.model import Model
    from ggufjac.registry import resolve

    return Model.open(resolve(str(path)))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
