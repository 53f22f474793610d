"""The last net under every report: a text that a part of it has let through raw is written as an escape all the same.

Parts make texts from outside readable themselves, where they know how wide they become.
"""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from ggufjac.readable import visible_lines


class Inert:
    """A report without anything that a terminal obeys but its own colours."""

    def __init__(self, report: RenderableType) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._report, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)
