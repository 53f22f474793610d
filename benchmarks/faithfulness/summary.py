"""Scores of many prompts as tables: means, their standard errors, and shares of what zeroing each token reaches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from benchmarks.faithfulness.measure import Score
from benchmarks.faithfulness.quantities import CHANCE, LOG_P, NAMES
from benchmarks.table import Table

#: The account that the others are held against, and the quantity whose table shows all of them.
CEILING, SHOWN = "zeroing each token", CHANCE


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def error(values: Sequence[float]) -> float:
    """The standard error of the mean; 0 of a single value."""
    middle, n = mean(values), len(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (n - 1) / n) if n > 1 else 0.0


def share_error(part: Sequence[float], whole: Sequence[float]) -> float:
    """The standard error of mean(part) / mean(whole), measured on the same prompts."""
    ratio = mean(part) / mean(whole)
    return error([p - ratio * w for p, w in zip(part, whole, strict=True)]) / abs(mean(whole))


class Summary:
    """The scores of one model."""

    def __init__(self, scores: Sequence[Score]) -> None:
        self.rows: dict[tuple[str, str], list[Score]] = {}
        for score in scores:
            self.rows.setdefault((score.account, score.quantity), []).append(score)
        self.accounts = list(dict.fromkeys(score.account for score in scores))
        self.kinds = list(dict.fromkeys(score.kind for score in scores))
        self.n_prompts = len(self.rows[CEILING, LOG_P])
        self.lengths = [score.n_tokens for score in self.rows[CEILING, LOG_P]]

    def shown(self, account: str) -> tuple[str, str]:
        """The row that stands for an account: of ln p above chance, or of whatever it has."""
        wanted = LOG_P if account == CEILING else SHOWN
        return (account, wanted) if (account, wanted) in self.rows else (account, LOG_P)

    def ranked(self) -> list[str]:
        """The accounts by their areas, the largest first."""
        return sorted(self.accounts, key=lambda name: -mean([s.area for s in self.rows[self.shown(name)]]))

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Titles and tables."""
        yield "All accounts", self.main()
        yield "By what is explained: area by the curves of ln p", self.by_quantity()
        yield "Each against the curves of its own quantity: share of zeroing's area", self.own()
        yield "By kind of prompt: area by the curves of ln p", self.by_kind()

    def main(self) -> Table:
        headings = ("account", "of", "area", "of zeroing's", "Spearman", "share of token 0", "cost", "s")
        return Table(headings, (self._main(name) for name in self.ranked()), left=2)

    def _main(self, name: str) -> list[str]:
        row = self.rows[self.shown(name)]
        areas, whole = [s.area for s in row], [s.area for s in self.rows[CEILING, LOG_P]]
        return [
            name,
            self.shown(name)[1],
            f"{mean(areas):.2f} ± {error(areas):.2f}",
            f"{mean(areas) / mean(whole):.0%} ± {share_error(areas, whole):.0%}",
            _with_error([s.spearman for s in row]),
            f"{mean([s.first for s in row]):.2f}",
            row[0].cost,
            f"{mean([s.seconds for s in row]):.2f}",
        ]

    def by_quantity(self) -> Table:
        rows = ([name, *(self._cell(name, q) for q in NAMES)] for name in self.ranked() if self._several(name))
        return Table(("account", *NAMES), rows)

    def _cell(self, name: str, quantity: str) -> str:
        row = self.rows.get((name, quantity))
        return "" if row is None else _with_error([s.area for s in row])

    def own(self) -> Table:
        rows = ([name, *(self._own(name, q) for q in NAMES)] for name in self.ranked() if self._several(name))
        return Table(("account", *NAMES), rows)

    def _own(self, name: str, quantity: str) -> str:
        row, whole = self.rows.get((name, quantity)), self.rows[CEILING, quantity]
        if row is None:
            return ""
        areas = [s.own_area for s in row]
        if name == CEILING:
            return f"{mean(areas):.2f}"
        above = [s.own_area for s in whole]
        return f"{mean(areas) / mean(above):.0%} ± {share_error(areas, above):.0%}"

    def by_kind(self) -> Table:
        rows = ([name, *(self._of_kind(name, kind) for kind in self.kinds)] for name in self.ranked())
        counts = {kind: sum(s.kind == kind for s in self.rows[CEILING, LOG_P]) for kind in self.kinds}
        return Table(("account", *(f"{kind} ({n})" for kind, n in counts.items())), rows)

    def _of_kind(self, name: str, kind: str) -> str:
        return _with_error([s.area for s in self.rows[self.shown(name)] if s.kind == kind])

    def _several(self, name: str) -> bool:
        return sum(account == name for account, _ in self.rows) > 1


def _with_error(values: Sequence[float]) -> str:
    return f"{mean(values):.2f} ± {error(values):.2f}"
