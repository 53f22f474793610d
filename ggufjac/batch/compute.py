"""One unit of a batch computed, with the models held open between units."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import torch

from ggufjac.analyses import ablation, attribution, extremes, layers, ordinary, prediction
from ggufjac.analyses.agreement import ROUNDING, Agreement, compare
from ggufjac.analyses.following import beside_exact
from ggufjac.analyses.options import MapOptions
from ggufjac.analyses.result import Result
from ggufjac.analyses.targets import token_called
from ggufjac.batch.units import How, Resources, Source, Unit
from ggufjac.errors import UserError
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.followed import Settings
from ggufjac.maps.model import DTYPES, Model
from ggufjac.reader.fingerprint import fingerprint

if TYPE_CHECKING:
    from typing_extensions import Self

#: llama.cpp rounds its context up to a multiple of this, so prompts within one can share it.
CONTEXT = 256


@dataclass(frozen=True)
class Outcome:
    """What came of a unit: its result, or the reason why there is none. seconds: what it took."""

    result: Result | None
    error: str
    seconds: float


class Session:
    """One open model, and llama.cpp beside it once it is asked."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._runner: Runner | None = None
        self._context = 0

    def judge(self, linear: DetachedMap) -> tuple[Agreement | None, str]:
        """llama.cpp's own logits beside a map's; None and the reason where it cannot run the file."""
        # LongRoPE's factors depend on the context, so it is that of the prompt alone
        context = -(-len(linear.tokens) // CONTEXT) * CONTEXT
        try:
            if self._runner is None or context != self._context:
                self._forget()
                self._runner = Runner(self.model.file.path, n_ctx=context, threads=torch.get_num_threads())
                self._context = context
            return compare(linear.logits.numpy(), self._runner.logits(linear.tokens), ROUNDING), ""
        except UserError as error:
            return None, str(error)

    def close(self) -> None:
        self._forget()
        self.model.close()

    def _forget(self) -> None:
        if self._runner is not None:
            self._runner.close()
        self._runner = None


class Sessions:
    """The models that one process has open, each once. A context manager; not to be shared between threads."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._open: dict[str, Session] = {}

    def attempt(self, unit: Unit) -> Outcome:
        """Compute a unit. A UserError is an outcome; everything else is a bug and is raised."""
        started = time.perf_counter()
        try:
            with torch.no_grad():
                result = _computed(self.of(unit.model), unit, self._resources)
        except UserError as error:
            return Outcome(None, str(error), time.perf_counter() - started)
        return Outcome(result, "", time.perf_counter() - started)

    def of(self, source: Source) -> Session:
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
    model, how, prompt = session.model, unit.how, unit.prompt.prompt
    target = None if unit.prompt.target is None else token_called(model, unit.prompt.target, "target")
    options: dict[str, Any] = {
        "dtype": DTYPES[how.dtype],
        "path": how.path,
        "seed": how.seed,
        "memory": resources.memory,
        "device": resources.device,
        "run": how.run,
        "llama": Settings(torch.get_num_threads(), cast(Any, how.cache), how.repack),
    }
    if how.top is not None:
        options["components" if unit.analysis == "ablate" else "top"] = how.top
    if unit.analysis == "attribute":
        options["targets"] = () if target is None else (target,)
    elif unit.analysis != "extremes":  # the longest columns and rows are those of the map, whatever is predicted
        options["target"] = target
    if unit.analysis == "analyze":
        given = prompt if isinstance(prompt, str) else list(prompt)
        return prediction.analyze(model, given, prediction.Options(**options), _judge(session, how))
    compute, kind = JOBS[unit.analysis]
    return compute(model, prompt, kind(**options))


#: What computes a result, and the kind of its options; `analyze` alone also wants a judge.
JOBS: dict[str, tuple[Callable[..., Result], type[MapOptions]]] = {
    "layers": (layers.layers, layers.Options),
    "attribute": (attribution.attribute, attribution.Options),
    "ordinary": (ordinary.ordinary, ordinary.Options),
    "extremes": (extremes.extremes, extremes.Options),
    "ablate": (ablation.ablate, ablation.Options),
}


def _judge(session: Session, how: How) -> prediction.Judge:
    def judge(linear: DetachedMap) -> tuple[Agreement | None, str]:
        if not how.verify:
            return None, "--no-verify"
        return session.judge(linear) if how.run == "exact" else (beside_exact(session.model, linear), "")

    return judge
