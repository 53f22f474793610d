"""Results as Markdown: readable in a terminal, and what `python -m benchmarks results` keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows that may still be measured while the first ones are printed; note: a paragraph above the table.

    The first `left` columns hold text, the others numbers.
    """

    headings: Sequence[str]
    rows: Iterable[Sequence[str]]
    note: str = ""
    left: int = 1

    def lines(self) -> Iterator[str]:
        if self.note:
            yield self.note
            yield ""
        yield _row(self.headings)
        yield "|" + "|".join("---" if i < self.left else "--:" for i in range(len(self.headings))) + "|"
        yield from map(_row, self.rows)

    def print(self) -> None:
        for line in self.lines():
            print(line, flush=True)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
