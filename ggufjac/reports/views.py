"""The one door to the views of a result: terminal, page, notebook, pictures. A view is found by the kind of the result.

For a kind there is `terminal/KIND.py` with `report(result)`, `plots/KIND.py` with `pictures(result)`, and, where a page
shows more than the terminal's tables, `page/kinds/KIND.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ggufjac.analyses.common.result import Result
from ggufjac.reports import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ggufjac.reports.plots.picture import Picture


class Views:
    """Every view of every kind of result; each is imported when it is first asked for."""

    def terminal(self, result: Result) -> RenderableType:
        """The report for a terminal."""
        return terminal.report(result)

    def text(self, result: Result) -> str:
        """The report as text without colours."""
        from ggufjac.reports.terminal.files import plain

        return plain(self.terminal(result))

    def svg(self, result: Result) -> str:
        """The report in a terminal's colours, as a picture."""
        from ggufjac.reports.terminal.files import svg

        return svg(self.terminal(result), f"ggufjac {result.kind}")

    def page(self, result: Result) -> str:
        """The report as one page of HTML that needs no other file."""
        from ggufjac.reports.page import page

        return page(result)

    def cell(self, result: Result) -> str:
        """The page's content alone, for a cell of a notebook."""
        from ggufjac.reports.page import cell

        return cell(result)

    def pictures(self, result: Result) -> tuple[Picture, ...]:
        """The pictures. Raises UserError where matplotlib is missing."""
        from ggufjac.reports import plots

        return plots.pictures(result)

    def plot(self, result: Result, folder: str | Path, form: Literal["svg", "png"] = "svg") -> tuple[Path, ...]:
        """Write the pictures into a folder. Raises UserError where matplotlib is missing or nothing can be written."""
        from ggufjac.reports import plots

        return plots.save(result, folder, form)


VIEWS = Views()


def install() -> None:
    """Let results show themselves."""
    Result.views = VIEWS
