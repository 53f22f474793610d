"""How far a long work has come: a line that changes on a terminal, plain lines every so often anywhere else.

What is done and what is left comes from the plan of the analysis: how long every step should take, and how many columns
should pass how many layers in it. A step that tells of nothing goes by the clock. The time that is left is what is
planned for the rest, at the pace of what is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from ggufjac.analyses.common.stopwatch import Progress
from ggufjac.analyses.options import AnalysisOptions
from ggufjac.analyses.plan import Plan, PlannedStep, expected
from ggufjac.chat.prompt import PromptLike
from ggufjac.maps.model import Model
from ggufjac.reports.aside import aside
from ggufjac.reports.terminal.plan import line
from ggufjac.reports.words import duration

#: Seconds after which a plain line comes first, after which one comes at the latest, and before which none comes.
FIRST, LATEST, SOONEST = 10.0, 30.0, 5.0
#: By how much of the whole a work has come further when the next plain line is due.
FURTHER = 0.1
#: No step counts for more than this before it is over: plans are estimates.
MOST = 0.95
#: Seconds that a plan is trusted with before the pace of what is done counts.
TRUSTED = 20.0


class Tracker(Progress):
    """Knows how far an analysis has come. doing: what it is, in a word; steps: of its plan (empty: there is none)."""

    def __init__(self, doing: str, steps: Sequence[PlannedStep] = (), clock: Callable[[], float] = time.monotonic):
        self._doing = doing
        self._clock = clock
        self._begun = self._since = clock()
        self._seconds: dict[str, float] = {}
        self._passing: dict[str, int] = {}
        for step in steps:
            self._seconds[step.lap] = self._seconds.get(step.lap, 0.0) + step.seconds
            self._passing[step.lap] = self._passing.get(step.lap, 0) + step.passing
        self._over: set[str] = set()
        self._lap = ""
        self._passed = 0

    def lap(self, step: str) -> None:
        self._over.add(self._lap)
        self._lap, self._passed, self._since = step, 0, self._clock()

    def passed(self, columns: int) -> None:
        self._passed += columns

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._begun

    @property
    def share(self) -> float | None:
        """How much of the whole is done, from 0 to 1; None where nothing was planned."""
        total = sum(self._seconds.values())
        return None if total <= 0 else self._done() / total

    @property
    def left(self) -> float | None:
        """Seconds that are left; None where nothing was planned."""
        if not self._seconds:
            return None
        done, total = self._done(), sum(self._seconds.values())
        return (total - done) * (self.elapsed + TRUSTED) / (done + TRUSTED)

    def line(self) -> str:
        """What is done, how far it has come, and how long it will take."""
        step = f"{self._doing}: {self._lap}" if self._lap else self._doing
        share, left = self.share, self.left
        if share is None or left is None:
            return f"{step}, {duration(self.elapsed)} so far"
        return f"{step}, {share:.0%}, about {duration(left)} left"

    def _done(self) -> float:
        """Planned seconds of what is done."""
        over = sum(seconds for lap, seconds in self._seconds.items() if lap in self._over)
        here = 0.0 if self._lap in self._over else self._seconds.get(self._lap, 0.0)
        if not here:
            return over
        whole = self._passing[self._lap]
        if whole:
            return over + here * min(MOST, self._passed / whole)
        spent = self._since - self._begun
        pace = (spent + TRUSTED) / (over + TRUSTED)
        return over + here * min(MOST, (self._clock() - self._since) / (here * pace))


class Counted:
    """How many of some pieces of work are done, one like the other. first: how many were done before."""

    def __init__(self, doing: str, clock: Callable[[], float] = time.monotonic):
        self._doing, self._clock = doing, clock
        self._begun = clock()
        self._first = self._done = self._total = 0

    def begin(self, done: int, total: int) -> None:
        """So many are done already: they say nothing about the time that one takes."""
        self._first = self._done = done
        self._total, self._begun = total, self._clock()

    def reach(self, done: int) -> None:
        self._done = done

    @property
    def elapsed(self) -> float:
        return self._clock() - self._begun

    @property
    def share(self) -> float | None:
        return self._done / self._total if self._total else None

    def line(self) -> str:
        text = f"{self._doing}: {self._done} of {self._total}"
        if self._done == self._first:
            return f"{text}, {duration(self.elapsed)} so far"
        left = self.elapsed / (self._done - self._first) * (self._total - self._done)
        return f"{text}, {self._done / self._total:.0%}, about {duration(left)} left"


class Plain:
    """Decides when a plain line is due: first after FIRST seconds (LATEST, where nothing is planned, which is mostly
    short), then whenever the work has come FURTHER, after LATEST seconds at the latest."""

    def __init__(self) -> None:
        self._last, self._share = 0.0, 0.0

    def due(self, elapsed: float, share: float | None) -> bool:
        since = elapsed - self._last
        further = share is not None and share - self._share >= FURTHER and since >= SOONEST
        first = FIRST if share is not None else LATEST
        if elapsed < first or not (self._last == 0.0 or further or since >= LATEST):
            return False
        self._last, self._share = elapsed, share or 0.0
        return True


class Live:
    """A work's line as rich asks for it anew, several times a second."""

    def __init__(self, tracker: Tracker | Counted) -> None:
        self._tracker = tracker

    def __rich__(self) -> Text:
        return Text(self._tracker.line())


@contextmanager
def watched(doing: str, plan: Plan | None = None, console: Console | None = None) -> Iterator[Tracker]:
    """A tracker that is shown on standard error while it is needed: on a terminal as a line that changes, elsewhere as
    plain lines of a long work. plan: of the analysis (None: there is none)."""
    console = console or aside()
    tracker = Tracker(doing, () if plan is None else plan.steps)
    if console.is_terminal:
        with console.status(Live(tracker)):
            yield tracker
    else:
        with plain_lines(tracker, console):
            yield tracker


@contextmanager
def analysis_watched(
    doing: str, command: str, prompts: Sequence[tuple[Model, PromptLike]], options: AnalysisOptions
) -> Iterator[Tracker]:
    """The same for an analysis of some prompts on their models, which is planned first where it may take long; what is
    to be expected is told in a line."""
    sizes = [(model, len(model.ids_of(prompt))) for model, prompt in prompts]
    with planned_watched(doing, lambda: expected(sizes, command, options)) as tracker:
        yield tracker


@contextmanager
def planned_watched(doing: str, planned: Callable[[], Plan | None]) -> Iterator[Tracker]:
    """The same of whatever has a plan (None: it is short)."""
    with watched(f"{doing}: planning"):
        plan = planned()
    tell_beforehand(plan)
    with watched(doing, plan) as tracker:
        yield tracker


def tell_beforehand(plan: Plan | None, console: Console | None = None) -> None:
    """What is to be expected of a long work, in a line."""
    if plan is not None and plan.seconds > FIRST:
        (console or aside()).print(line(plan), soft_wrap=True)


@contextmanager
def plain_lines(of: Tracker | Counted, console: Console) -> Iterator[None]:
    """Plain lines of a work, as they are due, for as long as it goes on."""
    over, when = threading.Event(), Plain()

    def tell() -> None:
        while not over.wait(1.0):
            if when.due(of.elapsed, of.share):
                console.print(Text(of.line()), soft_wrap=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
