"""A batch from beginning to end: what is left to do is computed, here or by a cluster, and recorded as it comes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from ggufjac.analyses.common.result import Result
from ggufjac.batch.compute import Sessions, UnitOutcome, unit_result
from ggufjac.batch.headline import headline
from ggufjac.batch.store import Store, writing
from ggufjac.batch.summary import Summary, summary_of
from ggufjac.batch.units import BatchModel, Resources, Unit
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.readable import storable
from ggufjac.reader.fingerprint import fingerprint
from ggufjac.registry.stores.ollama import name_of_blob

#: Told how many units there are and how many of them are done or failed already, then of each one that follows.
Told: TypeAlias = "Callable[[Unit | None, int, int], None]"


def sources(paths: Iterable[str | Path]) -> tuple[BatchModel, ...]:
    """The models of a batch, by their files. Raises UserError for a file that cannot be analysed."""
    found = []
    for path in paths:
        with Model.open(path) as model:
            # the first file of a split model opens all of them, on every machine
            name = name_of_blob(model.file.path) or storable(model.file.path.name)
            found.append(BatchModel(name, str(model.file.path.absolute()), fingerprint(model.file)))
    return tuple(found)


def run_batch(
    folder: str | Path,
    units: Sequence[Unit],
    resources: Resources | None = None,
    cluster: str | None = None,
    told: Told = lambda *_: None,
) -> Summary:
    """Compute those of the units that the folder has no result of, record every outcome, and sum the units up.

    Units that failed in an earlier run are tried again. cluster: who computes them, in the words of
    `ggufjac.batch.distributed.computed` (None: this process). May be interrupted at any point, and called again.

    Whatever goes wrong in a unit is recorded for it, and the run goes on; a result counts once it is on the disk.
    Raises UserError where another process writes to the folder, and where it cannot be written: no other result could.
    """
    resources = resources or Resources()
    with writing(folder) as store:
        waiting = store.plan(units)
        told(None, len(units) - len(waiting), len(units))
        with closing(_computed(waiting, resources, cluster)) as outcomes:
            for finished, (unit, outcome) in enumerate(outcomes, 1):
                _record(store, unit, outcome)
                told(unit, len(units) - len(waiting) + finished, len(units))
        return summary_of(store.rows(), str(folder), {unit.key for unit in units})


def _computed(
    units: Sequence[Unit], resources: Resources, cluster: str | None
) -> Generator[tuple[Unit, UnitOutcome[Result]], None, None]:
    if not units:
        return
    if cluster is None:
        yield from _here(units, resources)
    else:
        from ggufjac.batch.distributed import computed

        yield from computed(units, resources, cluster, unit_result)


def _here(units: Sequence[Unit], resources: Resources) -> Iterator[tuple[Unit, UnitOutcome[Result]]]:
    """One after the other in this process; units come model by model, and a model is closed after its last one."""
    for model in dict.fromkeys(unit.model for unit in units):
        with Sessions(resources) as sessions:
            for unit in units:
                if unit.model == model:
                    yield unit, sessions.attempt(unit, unit_result)


def _record(store: Store, unit: Unit, outcome: UnitOutcome[Result]) -> None:
    if outcome.result is None:
        store.record_failure(unit, outcome.error, outcome.seconds, outcome.fault)
        return
    place = store.place(unit)
    try:
        columns = headline(outcome.result)
        outcome.result.save(place)
    except UserError:
        raise
    except Exception as error:
        _record(store, unit, UnitOutcome.of_fault(error, outcome.seconds))
        return
    store.record(unit, place, columns, outcome.seconds)
