"""Equality with llama.cpp, which is the judge: the file as it is, and its expansion to float32.

On quantised weights llama.cpp rounds activations to 8 bits, so it differs from exact arithmetic on the same weights;
the direct check measures by how much. On the float32 twin nothing is rounded, so agreement there proves the graph,
logit by logit and step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggufjac.analyses.common.agreement import ROUNDING, Agreement, compare
from ggufjac.analyses.judge.copies import expanded, forget
from ggufjac.chat.prompt import PromptLike
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.model import Model
from ggufjac.maps.notes import text_of

#: Agreement on the twin at every position and in every step: the largest difference over the spread of the logits, and
#: of each hidden state over its own.
TWIN = 1e-4
#: The same for families whose GELU llama.cpp reads from a float16 table. Emulating the table makes most differences
#: ten times smaller, but an argument that differs in its last bit can still be rounded the other way.
TWIN_GELU = 5e-3
#: One step without the table emulated: single entries of a GELU's output are off by half a float16 digit.
TWIN_GELU_STEP = 3e-2
#: With the table emulated: the logits where llama.cpp's own arguments of GELU are used. Steps are held to TWIN.
SAME_GELU = 1e-3

#: Prompts for a check without prompts: plain text, code, several scripts, digits, whitespace, one lone token.
PROMPTS: tuple[str, ...] = (
    "The bridge out of Marin is the",
    "The",
    "def fibonacci(n):\n    if n < 2:\n        return",
    "Столица Франции — это",
    "日本の首都は",
    "3.14159 * 2 = 6.28318, and 17 + 25 =",
    "  - one\n  - two\n\n\tthree",
)


@dataclass(frozen=True)
class LayerCheck:
    """A hidden state by llama.cpp's name: the largest difference over the state's standard deviation.

    Each state is computed from llama.cpp's own states before it, so a difference belongs to the step that shows it.
    """

    name: str
    relative: float


@dataclass(frozen=True)
class PromptCheck:
    """One prompt against llama.cpp, at its last position (direct) or at every position (twin).

    worst: the largest difference of logits over their spread, over the positions checked; same_gelu: the same with
    llama.cpp's own arguments of GELU, so that none is rounded the other way (None where no table is emulated);
    layers: hidden states in order of computation; first_bad: the first of them that is beyond the tolerance; steady:
    whether the logits agree at every position, not only at the last.
    """

    prompt: str
    n_tokens: int
    agreement: Agreement
    worst: float
    same_gelu: float | None
    layers: tuple[LayerCheck, ...]
    first_bad: str | None
    steady: bool

    @property
    def verdict(self) -> str:
        """The logits' verdict, or MISMATCH where a step on the way is off."""
        return self.agreement.verdict if self.steady and self.first_bad is None else "MISMATCH"


@dataclass(frozen=True)
class Verification:
    """kind: "direct" or "twin"; gelu_table: whether llama.cpp's GELU table was emulated; limit: the tolerance."""

    kind: str
    gelu_table: bool
    limit: float
    checks: tuple[PromptCheck, ...]

    @property
    def agrees(self) -> bool:
        return all(check.verdict != "MISMATCH" for check in self.checks)


def direct(model: Model, prompts: Sequence[PromptLike], threads: int | None = None) -> Verification:
    """llama.cpp on the file as it is, with the settings that a user has, at the last position of each prompt."""
    ids = [model.ids_of(prompt) for prompt in prompts]
    checks = []
    n_ctx = max(map(len, ids))
    with Runner(model.file.path, n_ctx=n_ctx, threads=threads) as runner:
        for prompt, tokens in zip(prompts, ids, strict=True):
            exact = model.linearize(tokens, n_ctx=n_ctx).logits.numpy()
            agreement = compare(exact, runner.logits(tokens), ROUNDING)
            checks.append(
                PromptCheck(
                    text_of(model, prompt, tokens), len(tokens), agreement, agreement.relative, None, (), None, True
                )
            )
    model.require_unchanged()
    return Verification("direct", False, ROUNDING, tuple(checks))


def twin(
    model: Model,
    prompts: Sequence[PromptLike],
    *,
    layers: bool = True,
    gelu_table: bool = False,
    threads: int | None = None,
    directory: Path | None = None,
) -> Verification:
    """llama.cpp on a temporary float32 copy, float32 cache, flash attention off: every position, every layer.

    Raises UserError when the copy would not fit on the disk or in memory, and where llama.cpp does not take it.
    """
    ids = [model.ids_of(prompt) for prompt in prompts]
    n_ctx = max(map(len, ids))
    # the copy's own name means nothing to anybody
    called = f"{model.file.path} (its float32 copy, with which ggufjac's values are to be compared)"
    with expanded(model, directory) as path, Runner(path, n_ctx, kv="f32", threads=threads, called=called) as runner:
        forget(path)
        checks = [
            _twin_check(
                model, text_of(model, prompt, tokens), tokens, runner, layers, gelu_table=gelu_table, n_ctx=n_ctx
            )
            for prompt, tokens in zip(prompts, ids, strict=True)
        ]
    model.require_unchanged()
    return Verification("twin", gelu_table, _limit(model), tuple(checks))


def _limit(model: Model) -> float:
    return TWIN_GELU if model.family.gelu else TWIN


def _twin_check(
    model: Model, prompt: str, ids: Sequence[int], runner: Runner, layers: bool, *, gelu_table: bool, n_ctx: int
) -> PromptCheck:
    ours = states_of(model, ids, gelu_table=gelu_table, n_ctx=n_ctx)
    exact, logits = ours.pop("result_output"), runner.logits(ids, all_positions=True)
    worst, same_gelu = _worst(exact, logits), None
    steady = worst <= _limit(model)
    if gelu_table:
        gates = runner.capture(ids, lambda name: name.startswith(("ffn_gate", "ffn_up", "ffn_moe_gate", "inp_gate")))
        same_gelu = _worst(states_of(model, ids, gates, gelu_table=True, n_ctx=n_ctx)["result_output"], logits)
        steady = same_gelu <= SAME_GELU  # free-running, arguments that are rounded the other way add up
    steps: tuple[LayerCheck, ...] = ()
    if layers:
        theirs = runner.capture(ids, ours.keys())
        again = states_of(model, ids, theirs, gelu_table=gelu_table, n_ctx=n_ctx)
        steps = tuple(LayerCheck(name, _relative(again[name], theirs[name])) for name in again if name in theirs)
    step_limit = TWIN_GELU_STEP if model.family.gelu and not gelu_table else TWIN
    return PromptCheck(
        prompt=prompt,
        n_tokens=len(ids),
        agreement=compare(exact[-1], logits[-1], _limit(model), of="largest"),
        worst=worst,
        same_gelu=same_gelu,
        layers=steps,
        first_bad=next((step.name for step in steps if not step.relative <= step_limit), None),
        steady=steady,
    )


def _worst(exact: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    return max(float(np.abs(a - b).max() / a.std()) for a, b in zip(exact, logits, strict=True))


def states_of(
    model: Model, ids: Sequence[int], given: Mapping[str, NDArray[np.float32]] | None = None, **options: Any
) -> dict[str, NDArray[np.float32]]:
    """Our named values of one prompt in order of computation, [T, n] each; "result_output" are the logits.

    With `given`, every value of that name is recorded as computed and then replaced, so that what follows is computed
    from the given one.
    """
    states: dict[str, NDArray[np.float32]] = {}

    def keep(name: str, x: Tensor) -> Tensor:
        states[name] = x.numpy()
        if given is None or name not in given or given[name].shape != tuple(x.shape):
            return x
        return torch.from_numpy(given[name])

    model.run(ids, torch.float32, watch=keep, **options)
    return states


def _relative(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / ours.std())
