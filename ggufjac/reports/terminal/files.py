"""Reports of a terminal as text and as a picture."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from ggufjac.reports.inert import Inert

#: Columns of a report written as a picture, and as text where no terminal says how many it has.
PICTURE_WIDTH, TEXT_WIDTH = 140, 100


def plain(report: RenderableType) -> str:
    """The report as text without colours."""
    console = Console(file=io.StringIO(), width=TEXT_WIDTH, no_color=True, force_terminal=False, force_jupyter=False)
    with console.capture() as captured:
        console.print(Inert(report))
    return captured.get()


def svg(report: RenderableType, title: str) -> str:
    """The report in a terminal's colours, as a picture."""
    recorder = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True, force_jupyter=False)
    recorder.print(Inert(report))
    return recorder.export_svg(title=title)
