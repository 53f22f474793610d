"""One unit of a batch computed, with the models held open between units."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.targets import token_called
from ggufjac.analyses.judge.ask import Judge
from ggufjac.analyses.table import COMMANDS
from ggufjac.batch.units import BatchModel, Resources, Unit
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.reader.fingerprint import fingerprint

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class UnitOutcome:
    """What came of a unit: its result, or the reason why there is none. seconds: what it took."""

    result: Result | None
    error: str
    seconds: float


class Session:
    """One open model, and llama.cpp beside it once it is asked."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.judge = Judge(model)

    def close(self) -> None:
        self.judge.close()
        self.model.close()


class Sessions:
    """The models that one process has open, each once. A context manager; not to be shared between threads."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._open: dict[str, Session] = {}

    def attempt(self, unit: Unit) -> UnitOutcome:
        """Compute a unit. A UserError is an outcome; everything else is a bug and is raised."""
        started = time.perf_counter()
        try:
            with torch.no_grad():
                result = _computed(self.of(unit.model), unit, self._resources)
        except UserError as error:
            return UnitOutcome(None, str(error), time.perf_counter() - started)
        return UnitOutcome(result, "", time.perf_counter() - started)

    def of(self, source: BatchModel) -> Session:
        """The open model. Raises UserError where its file cannot be read, or is another one by now."""
        if source.fingerprint not in self._open:
            model = Model.open(source.path)
            if fingerprint(model.file) != source.fingerprint:
                model.close()
                raise UserError(f"{source.path}: the file is not the one that the run began with")
            self._open[source.fingerprint] = Session(model)
        return self._open[source.fingerprint]

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _computed(session: Session, unit: Unit, resources: Resources) -> Result:
    model, entry = session.model, COMMANDS[unit.analysis]
    target = None if unit.prompt.target is None else token_called(model, unit.prompt.target, "target")
    options = replace(
        unit.options, memory=resources.memory, device=resources.device, threads=resources.threads
    ).of_analysis(entry.options_class, target, unit.prompt.answer)
    more = {"judge": session.judge} if unit.analysis == "analyze" else {}
    line = unit.prompt
    prompt = model.chat(line.messages) if line.messages else line.prompt
    result: Result = entry.function(model, prompt, options, **more)
    return result
