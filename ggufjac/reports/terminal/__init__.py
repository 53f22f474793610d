"""Results in a terminal: a module for every kind of result, whose `report(result)` draws it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ggufjac.analyses.common.result import Result


def report(result: Result) -> RenderableType:
    """The report of a result of any kind."""
    drawn: RenderableType = import_module(f"{__name__}.{result.view_name()}").report(result)
    return drawn
