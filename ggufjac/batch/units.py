"""A batch's pieces of work, each with a key that says what its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ggufjac.analyses.options import BatchOptions
from ggufjac.analyses.table import COMMANDS, TABLE
from ggufjac.batch.prompts import PromptLine
from ggufjac.errors import UserError
from ggufjac.version import __version__

#: What can be run in a batch, by the names of the commands.
ANALYSES = tuple(entry.command for entry in TABLE if entry.batch)


@dataclass(frozen=True)
class Resources:
    """What a process may use, which changes no result. memory: bytes beside the mapped file (None: a quarter of the
    machine's); device: torch's name; threads: of the CPU (None: all).
    """

    memory: int | None = None
    device: str = "cpu"
    threads: int | None = None

    @classmethod
    def of(cls, options: BatchOptions) -> Resources:
        return cls(options.memory, options.device, options.threads)


@dataclass(frozen=True)
class BatchModel:
    """A model: its name in reports, its file, and its content's fingerprint (ggufjac.reader.fingerprint)."""

    name: str
    path: str
    fingerprint: str


class Task(Protocol):
    """What a batch or a fit hands out. key: of its own among the others; model: on which it is computed."""

    @property
    def key(self) -> str: ...

    @property
    def model(self) -> BatchModel: ...


@dataclass(frozen=True)
class Unit:
    """One analysis of one prompt on one model."""

    prompt: PromptLine
    model: BatchModel
    analysis: str
    options: BatchOptions

    @property
    def key(self) -> str:
        """A hash of all that the result depends on: the prompt with its id, target and answer, the model's content, the
        analysis with its options, and ggufjac's version. Where the prompt and the model lie does not matter.
        """
        p = self.prompt
        what = [
            __version__,
            self.analysis,
            self.options.identity(),
            self.model.fingerprint,
            p.id,
            p.prompt,
            p.target,
            [(message.role, message.content) for message in p.messages],
            p.answer,
        ]
        text = json.dumps(what, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def units_of(
    prompts: Iterable[PromptLine], models: Sequence[BatchModel], analyses: Sequence[str], options: BatchOptions
) -> tuple[Unit, ...]:
    """Every analysis of every prompt on every model, model by model, each once.

    Raises UserError for an analysis that there is not, or that cannot be had of llama.cpp's own run or in this dtype.
    """
    for name in analyses:
        if name not in ANALYSES:
            raise UserError(f"there is no analysis {name!r}; choose from {', '.join(ANALYSES)}")
        kind = COMMANDS[name].options_class
        if options.run != "exact" and not kind.follows:
            raise UserError(f"{name} needs derivatives, which a computation that rounds does not have; use --run exact")
        if options.dtype == "bfloat16" and not kind.quick:
            raise UserError(f"bfloat16 is a quick look of `analyze`; {name} takes float32 or float64")
    prompts = tuple(prompts)
    every = [Unit(p, model, analysis, options) for model in models for p in prompts for analysis in analyses]
    found: dict[str, Unit] = {}
    for unit in every:
        found.setdefault(unit.key, unit)
    return tuple(found.values())
