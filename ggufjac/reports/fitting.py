"""How far the fit of a lens has come: texts, the time they take, and how sure the mean is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from rich.text import Text

from ggufjac.reports.aside import aside
from ggufjac.reports.progress import Counted, Live, plain_lines, tell_beforehand

if TYPE_CHECKING:
    from ggufjac.analyses.lens.fit import Told
    from ggufjac.analyses.plan import Plan
    from ggufjac.maps.lens.lens import LensSum


#: What is said where a finished lens is gone on with.
ROUNDED = "the lens that is there is finished, in float16: what its {} texts add is rounded to three digits"
#: The plan of so many more texts (None: they are soon done).
Expected: TypeAlias = "Callable[[int], Plan | None]"


class Fitting(Counted):
    """Counts texts, and knows the block whose mean is the least sure."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, expected: Expected = lambda _: None) -> None:
        super().__init__("fitting", clock)
        self._expected = expected
        self._unsure = ""
        self._texts: int | None = None

    def told(self, state: LensSum, n: int) -> None:
        """What is there at first, and behind every text."""
        if self._texts is None:
            if state.rounded and state.n < n:
                aside().print(Text(ROUNDED.format(state.n)), soft_wrap=True)
            tell_beforehand(self._expected(max(0, n - state.n)))
            self.begin(state.n, n)
        self._texts = state.n
        self.reach(state.n)
        if state.n > 1:
            lens = state.lens()
            errors = {layer: lens.standard_error(layer) for layer in lens.layers}
            layer = max(errors, key=lambda layer: errors[layer])
            self._unsure = "" if math.isnan(errors[layer]) else f", error {errors[layer]:.3f} (block {layer})"

    def line(self) -> str:
        done = self._done - self._first
        each = f", {self.elapsed / done:.1f} s a text" if done else ""
        return f"{super().line()}{each}{self._unsure}"


@contextmanager
def fitting_watched(expected: Expected = lambda _: None) -> Iterator[Told]:
    """Tell on standard error how a fit goes on: a line that changes on a terminal, elsewhere plain lines now and then.

    error: the largest standard error of any block, as a share of its matrix.
    """
    console, fitting = aside(), Fitting(expected=expected)
    if console.is_terminal:
        with console.status(Live(fitting)):
            yield fitting.told
        return
    with plain_lines(fitting, console):
        yield fitting.told
