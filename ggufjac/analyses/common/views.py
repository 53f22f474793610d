"""What can be shown of a result, as a result sees it: whoever draws results says here that it does.

Analyses know nothing of reports. `ggufjac.reports` puts its views in the place of `Result.views`; the public functions
and the command line do so before they return a result.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from rich.console import RenderableType


class Drawing(Protocol):
    """A picture of a result. name: of its file, without the ending; title: what it shows."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def _repr_png_(self) -> bytes: ...


class ResultViews(Protocol):
    """The views of results of every kind."""

    def terminal(self, result: Any) -> RenderableType:
        """The report for a terminal."""

    def text(self, result: Any) -> str:
        """The report as text without colours."""

    def page(self, result: Any) -> str:
        """The report as one page of HTML that needs no other file."""

    def cell(self, result: Any) -> str:
        """The page's content alone, for a cell of a notebook."""

    def pictures(self, result: Any) -> tuple[Drawing, ...]:
        """The pictures. Raises UserError where matplotlib is missing."""

    def plot(self, result: Any, folder: str | Path, form: Literal["svg", "png"]) -> tuple[Path, ...]:
        """Write the pictures into a folder. Raises UserError where that cannot be done."""
