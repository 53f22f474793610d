"""A batch's pieces of work, each with a key that says what its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import ggufjac
from ggufjac.batch.prompts import PromptLine
from ggufjac.errors import UserError

#: What can be run in a batch, by the names of the commands.
ANALYSES = ("analyze", "layers", "attribute", "ordinary", "extremes", "ablate")
#: Those that need derivatives, which llama.cpp's own run does not have.
DIFFERENTIATING = ("ordinary",)


@dataclass(frozen=True)
class How:
    """How every unit is computed, as the commands' options say: top: triplets (None: the analysis's own number); run,
    cache, repack: whose computation is explained, and how llama.cpp is run then; verify: whether llama.cpp is asked for
    its prediction in `analyze`.
    """

    top: int | None = None
    dtype: str = "float32"
    path: str = "up"
    seed: int = 0
    run: str = "exact"
    cache: str = "f16"
    repack: bool = False
    verify: bool = True


@dataclass(frozen=True)
class Resources:
    """What a process may use, which changes no result. memory: bytes beside the mapped file (None: a quarter of the
    machine's); device: torch's name; threads: of the CPU (None: all).
    """

    memory: int | None = None
    device: str = "cpu"
    threads: int | None = None


@dataclass(frozen=True)
class Source:
    """A model: its name in reports, its file, and its content's fingerprint (ggufjac.reader.fingerprint)."""

    name: str
    path: str
    fingerprint: str


@dataclass(frozen=True)
class Unit:
    """One analysis of one prompt on one model."""

    prompt: PromptLine
    model: Source
    analysis: str
    how: How

    @property
    def key(self) -> str:
        """A hash of all that the result depends on: the prompt with its id and target, the model's content, the
        analysis with its options, and ggufjac's version. Where the prompt and the model lie does not matter.
        """
        p = self.prompt
        what = [
            ggufjac.__version__,
            self.analysis,
            asdict(self.how),
            self.model.fingerprint,
            p.id,
            p.prompt,
            p.target,
        ]
        text = json.dumps(what, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def units_of(
    prompts: Iterable[PromptLine], models: Sequence[Source], analyses: Sequence[str], how: How
) -> tuple[Unit, ...]:
    """Every analysis of every prompt on every model, model by model, each once.

    Raises UserError for an analysis that there is not, or that cannot be had of llama.cpp's own run or in this dtype.
    """
    for name in analyses:
        if name not in ANALYSES:
            raise UserError(f"there is no analysis {name!r}; choose from {', '.join(ANALYSES)}")
        if how.run != "exact" and name in DIFFERENTIATING:
            raise UserError(f"{name} needs derivatives, which a computation that rounds does not have; use --run exact")
        if how.dtype == "bfloat16" and name != "analyze":
            raise UserError(f"bfloat16 is a quick look of `analyze`; {name} takes float32 or float64")
    prompts = tuple(prompts)
    every = [Unit(p, model, analysis, how) for model in models for p in prompts for analysis in analyses]
    return tuple({unit.key: unit for unit in every}.values())
