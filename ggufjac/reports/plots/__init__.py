"""Results as pictures, with matplotlib (the extra `plots`), which is imported when a picture is asked for.

A module of this folder for every kind of result, named like its report, makes the pictures: `pictures(result)`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ggufjac import atomic
from ggufjac.atomic import too_long
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.analyses.common.result import Result
    from ggufjac.reports.plots.picture import Picture

Format = Literal["svg", "png"]


def require(folder: str | Path) -> None:
    """Raise UserError where pictures cannot be made, or where their folder neither exists nor can be made."""
    require_matplotlib()
    path = Path(folder).absolute()
    if too_long(path):
        raise UserError(f"{folder}: no pictures can be written there: the name is too long")
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"{folder}: no pictures can be written there: {there} is no folder, or not writable")


def require_matplotlib() -> None:
    """Raise UserError where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("pictures need matplotlib, which is not installed: pip install matplotlib")


def pictures(result: Result) -> tuple[Picture, ...]:
    """The pictures of a result, which also show themselves in a notebook.

    Raises UserError where matplotlib is missing, or for a kind of result that has no pictures.
    """
    require_matplotlib()
    name = f"{__name__}.{result.view_name()}"
    if importlib.util.find_spec(name) is None:
        raise UserError(f"there are no pictures of a result of the kind {result.kind!r}")
    from ggufjac.reports.plots.style import styled
    from ggufjac.reports.plots.text import families

    draw = importlib.import_module(name).pictures
    while True:
        fonts = families()
        with styled():
            made: tuple[Picture, ...] = tuple(draw(result))
        if families() == fonts:
            return made
        # a text has needed another font, which what was drawn before it does not know


def save(result: Result, folder: str | Path, form: Format = "svg") -> tuple[Path, ...]:
    """Write every picture of a result into a folder, which is made if need be; each appears whole or not at all.

    Raises UserError where matplotlib is missing, and where nothing can be written.
    """
    require(folder)
    made = pictures(result)
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}") from None
    paths = []
    for picture in made:
        path = place / f"{picture.name}.{form}"
        atomic.write(path, lambda target, picture=picture: picture.write(target, form))  # type: ignore[misc]
        paths.append(path)
    return tuple(paths)
