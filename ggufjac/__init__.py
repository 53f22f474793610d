"""ggufjac: the exact linear map behind a GGUF model's prediction.

`open(path)` gives a model; `model.linearize(text)` gives the map of one prompt. Nothing heavy is imported
before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["UserError", "__version__", "open"]

from ggufjac.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from ggufjac.maps.model import Model


def open(path: str | Path, **options: Any) -> Model:
    """Open a GGUF model for analysis: a path, or any name that `ggufjac models` lists.

    Raises UserError when the file is malformed or its architecture is not supported.
    """
    from ggufjac.maps.model import Model
    from ggufjac.registry import resolve

    return Model.open(resolve(str(path)), **options)
