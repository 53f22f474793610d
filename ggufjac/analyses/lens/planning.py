"""What fitting and reading lenses will take, told beforehand where that is long."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.analyses.lens.costs import FIT, JACOBIANS, OF_TEXTS, OWN_MAP, READ, TEXTS, PlannedReading
from ggufjac.analyses.lens.options import CORPUS, LensFitOptions, LensReadOptions
from ggufjac.analyses.plan import Plan, expected, plan_of, together, worth_planning
from ggufjac.maps.model import Model


def expected_fit(model: Model, texts: int, options: LensFitOptions) -> Plan | None:
    """The plan of a fit of so many more texts; None where it is short, and on a device of its own."""
    if not texts:
        return None
    return expected([(model, options.length)], FIT, replace(options, prompts=texts))


def expected_reading(
    model: Model, n_tokens: int, options: LensReadOptions, lenses: tuple[str, ...], texts: int | None = None
) -> Plan | None:
    """The plan of a reading through lenses; texts: how many there are for a lens that is not fitted (None: as many as
    are asked for). None as above."""
    n = options.prompts if texts is None else min(texts, options.prompts)
    reading = replace(PlannedReading.of(options, lenses, n_tokens), prompts=n)
    parts = [(READ, n_tokens), *([(TEXTS, options.length)] if CORPUS in lenses else [])]
    if options.device != "cpu" or not any(worth_planning([(model, n)], part, reading) for part, n in parts):
        return None
    return together([plan_of([(model, n)], part, reading, READ) for part, n in parts])


def columns_of(plan: Plan) -> int:
    """Columns that the sweeps of a lens's plan take."""
    return sum(step.columns * step.sweeps for step in plan.steps if step.name in (JACOBIANS, OWN_MAP, OF_TEXTS))
