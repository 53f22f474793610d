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
    """The scores of one model.

    Accounts may have been measured on some of the prompts only: each is held against zeroing on its own. What was
    measured twice counts once.
    """

    def __init__(self, scores: Sequence[Score]) -> None:
        found: dict[tuple[str, str], dict[int, Score]] = {}
        for score in scores:
            found.setdefault((score.account, score.quantity), {}).setdefault(score.prompt, score)
        self.rows = {key: list(row.values()) for key, row in found.items()}
        self.zeroed = {quantity: row for (account, quantity), row in found.items() if account == CEILING}
        self.accounts = list(dict.fromkeys(score.account for score in scores))
        self.kinds = list(dict.fromkeys(score.kind for score in scores))
        self.lengths = [score.n_tokens for score in self.rows[CEILING, LOG_P]]

    @property
    def n_prompts(self) -> int:
        return len(self.lengths)

    def share(self, row: Sequence[Score], areas: Sequence[float], own: bool = False) -> str:
        """The areas as a share of zeroing's on the same prompts: by ln p, or by their own quantity."""
        beside = self.zeroed[row[0].quantity if own else LOG_P]
        whole = [beside[s.prompt].own_area for s in row]
        return f"{mean(areas) / mean(whole):.0%} ± {share_error(areas, whole):.0%}"

    def shown(self, account: str) -> tuple[str, str]:
        """The row that stands for an account: of ln p above chance, or of whatever it has."""
        wanted = LOG_P if account == CEILING else SHOWN
        return (account, wanted) if (account, wanted) in self.rows else (account, LOG_P)

    def ranked(self) -> list[str]:
        """The accounts by their areas, the largest first."""
        return sorted(self.accounts, key=lambda name: -self._ratio(self.rows[self.shown(name)]))

    def _ratio(self, row: Sequence[Score]) -> float:
        return mean([s.area for s in row]) / mean([self.zeroed[LOG_P][s.prompt].area for s in row])

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Titles and tables."""
        yield "All accounts", self.main()
        yield "By what is explained: area by the curves of ln p", self.by_quantity()
        yield "Each against the curves of its own quantity: share of zeroing's area", self.own()
        yield "By kind of prompt: area by the curves of ln p", self.by_kind()

    def main(self) -> Table:
        headings = ("account", "of", "area", "of zeroing's", "prompts", "Spearman", "share of token 0", "cost", "s")
        return Table(headings, (self._main(name) for name in self.ranked()), left=2)

    def _main(self, name: str) -> list[str]:
        row = self.rows[self.shown(name)]
        areas = [s.area for s in row]
        return [
            name,
            self.shown(name)[1],
            _with_error(areas),
            self.share(row, areas),
            str(len(row)),
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
        row = self.rows.get((name, quantity))
        if row is None:
            return ""
        areas = [s.own_area for s in row]
        return f"{mean(areas):.2f}" if name == CEILING else self.share(row, areas, own=True)

    def by_kind(self) -> Table:
        everywhere = (name for name in self.ranked() if len(self.rows[self.shown(name)]) == self.n_prompts)
        rows = ([name, *(self._of_kind(name, kind) for kind in self.kinds)] for name in everywhere)
        counts = {kind: sum(s.kind == kind for s in self.rows[CEILING, LOG_P]) for kind in self.kinds}
        return Table(("account", *(f"{kind} ({n})" for kind, n in counts.items())), rows)

    def _of_kind(self, name: str, kind: str) -> str:
        return _with_error([s.area for s in self.rows[self.shown(name)] if s.kind == kind])

    def _several(self, name: str) -> bool:
        return sum(account == name for account, _ in self.rows) > 1


def _with_error(values: Sequence[float]) -> str:
    return f"{mean(values):.2f} ± {error(values):.2f}"
