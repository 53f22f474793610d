"""One unit of a batch computed, with the models held open between units."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from ggufjac.analyses.common.result import MapResult, PromptResult, Result
from ggufjac.analyses.common.targets import token_called
from ggufjac.analyses.exactness import wrong
from ggufjac.analyses.judge.ask import Judge
from ggufjac.analyses.layers import Layers
from ggufjac.analyses.table import COMMANDS
from ggufjac.batch.headline import reconstruction_of
from ggufjac.batch.units import BatchModel, Resources, Task, Unit
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.reader.fingerprint import fingerprint
from ggufjac.rules import rules_called

if TYPE_CHECKING:
    from typing_extensions import Self


Given = TypeVar("Given", bound=Task)
Got = TypeVar("Got")


@dataclass(frozen=True)
class UnitOutcome(Generic[Got]):
    """What came of a unit: its result, or the reason why there is none. seconds: what it took; fault: the traceback,
    where the reason is a fault of the program."""

    result: Got | None
    error: str
    seconds: float
    fault: str | None = None

    @classmethod
    def of_fault(cls, error: Exception, seconds: float) -> UnitOutcome[Got]:
        """What nobody has foreseen."""
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        traced = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return cls(None, f"{said} (a fault of ggufjac; its traceback is in the table)", seconds, traced)


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

    def attempt(self, unit: Given, compute: Callable[[Session, Given, Resources], Got]) -> UnitOutcome[Got]:
        """Compute a piece of work. Whatever goes wrong in it is an outcome, so that the others are computed."""
        started = time.perf_counter()
        try:
            with torch.no_grad():
                result = compute(self.of(unit.model), unit, self._resources)
        except UserError as error:
            return UnitOutcome(None, str(error), time.perf_counter() - started)
        except Exception as error:
            with suppress(Exception):  # what is open of the model may be in any state; the next unit opens it anew
                self._open.pop(unit.model.fingerprint).close()
            return UnitOutcome.of_fault(error, time.perf_counter() - started)
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


def _require_exact(result: Result) -> None:
    """Raise UserError for a map that cannot be one of its model: it misses far more of the output than rounding does.

    What is told of layers is no error of the map, and rules that do not reconstruct miss what they leave out.
    """
    if (
        not isinstance(result, PromptResult)
        or isinstance(result, Layers)
        or not rules_called(result.rules).reconstructs
    ):
        return
    found = reconstruction_of(result)
    followed = isinstance(result, MapResult) and result.llama is not None
    if found != found or (not followed and wrong(found, result.dtype)):
        raise UserError(
            f"the linear map misses {found:.1e} of the output, far more than {result.dtype} rounds; "
            f"is {result.model.file} damaged, or was it changed?"
        )


def unit_result(session: Session, unit: Unit, resources: Resources) -> Result:
    """The analysis of a prompt. Raises UserError where it cannot be one of its model."""
    model, entry = session.model, COMMANDS[unit.analysis]
    target = None if unit.prompt.target is None else token_called(model, unit.prompt.target, "target")
    options = replace(
        unit.options, memory=resources.memory, device=resources.device, threads=resources.threads
    ).of_analysis(entry.options_class, target, unit.prompt.answer)
    more = {"judge": session.judge} if unit.analysis == "analyze" else {}
    line = unit.prompt
    prompt = model.chat(line.messages) if line.messages else line.prompt
    result: Result = entry.function(model, prompt, options, **more)
    _require_exact(result)
    return result
