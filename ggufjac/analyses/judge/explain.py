"""What llama.cpp's rounding did to a prediction: its difference from exact arithmetic, step by step.

Followed is one number: by how many logits llama.cpp's first token is above exact arithmetic's, or, where both have the
same first token, that token's logit. Going through the network, each step of llama.cpp's run takes the place of the
exact one at the values that llama.cpp had there, everything behind it being exact (`maps.hybrids`). A step's term is by
how much that moves the number; the terms add up to the whole difference, save for what llama.cpp's sums of float32
numbers differ from ours, which is stated apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.agreement import ROUNDING, Agreement, compare
from ggufjac.analyses.common.facts import ModelFacts, facts_of
from ggufjac.analyses.common.followed import Followed, followed_of
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.stopwatch import Progress, Stopwatch, silent
from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.analyses.options import ExplainOptions
from ggufjac.chat.prompt import PromptLike
from ggufjac.maps.model import Model
from ggufjac.maps.notes import text_of
from ggufjac.network.followed.hybrids import Hybrid, hybrids, logits_of
from ggufjac.reader.types import GGMLType


@dataclass(frozen=True)
class RoundingStep:
    """One step of llama.cpp's run in the place of the exact one.

    layer, part: as in `Remainder`; kind: the type of the weight that it multiplies with, if it is a product. moves: the
    number that is followed, in logits; noise: all logits, root mean square without their common shift. first: the first
    token of the pass that is exact behind this step.
    """

    layer: int
    part: str
    kind: str
    moves: float
    noise: float
    first: Piece


@dataclass(frozen=True, kw_only=True)
class Explanation(Result):
    """One prompt's difference between llama.cpp and exact arithmetic on the same weights, explained.

    n_tokens, n_layer: of prompt and model. agreement: of the two. first: llama.cpp's first token; other: exact
    arithmetic's where that is another one. exact, theirs: the number that is followed, in exact arithmetic and in
    llama.cpp. steps: in the order of the network. remainder: what is left where every step has been taken; theirs -
    exact is the sum of all `moves` and of this.
    """

    kind: ClassVar[str] = "explanation"

    model: ModelFacts
    prompt: str
    dtype: str
    n_tokens: int
    n_layer: int
    agreement: Agreement
    first: Piece
    other: Piece | None
    exact: float
    theirs: float
    steps: tuple[RoundingStep, ...]
    remainder: float
    llama: Followed
    seconds: dict[str, float]

    @property
    def turned(self) -> RoundingStep | None:
        """The step from which on llama.cpp's first token stays the first; None where it is so throughout."""
        if self.other is None:
            return None
        turned: RoundingStep | None = None
        for step in reversed(self.steps):
            if step.first != self.first:
                break
            turned = step
        return turned


def explain(
    model: Model, prompt: PromptLike, options: ExplainOptions | None = None, progress: Progress = silent
) -> Explanation:
    """Explain how llama.cpp's prediction of one prompt differs from that of exact arithmetic.

    Raises UserError for a file that llama.cpp cannot run or whose run cannot be followed.
    """
    options = replace(options or ExplainOptions(), run="llama.cpp")
    watch = Stopwatch(progress)
    ids = model.ids_of(prompt)
    watch.lap("llama.cpp")
    linear = model.linearize_with(ids, options)
    run = followed_of(linear)
    assert run is not None
    watch.lap("steps")
    with torch.no_grad():
        found = list(hybrids(model.family, linear.forward_pass))
        rows = (row.cpu().double() for row in logits_of(model.family, linear.forward_pass, found))
        exact = next(rows)
        theirs = linear.logits.double()
        first, other = int(theirs.argmax()), int(exact.argmax())
        judged = compare(exact.numpy(), theirs.numpy(), ROUNDING)
        steps, speller, before = [], Speller(model.vocab), exact
        for place, after in zip(found, rows, strict=True):
            change = after - before
            steps.append(
                RoundingStep(
                    layer=place.layer,
                    part=place.part,
                    kind=_kind(model, place),
                    moves=_followed(change, first, other),
                    noise=float((change - change.mean()).square().mean().sqrt()),
                    first=speller.piece(int(after.argmax())),
                )
            )
            before = after
    spelt = speller.piece(first)
    return Explanation(
        model=facts_of(model.file),
        prompt=text_of(model, prompt, ids),
        dtype=options.dtype_name,
        n_tokens=len(ids),
        n_layer=model.family.n_layer,
        agreement=judged,
        first=spelt,
        other=None if first == other else speller.piece(other),
        exact=_followed(exact, first, other),
        theirs=_followed(theirs, first, other),
        steps=tuple(steps),
        remainder=_followed(theirs - before, first, other),
        llama=run,
        seconds=watch.stop(),
        arrays={"tokens": torch.tensor(ids), "exact": exact, "logits": linear.logits},
    )


def _followed(logits: Tensor, first: int, other: int) -> float:
    """The number that is followed, of logits or of their change."""
    return float(logits[first] - logits[other]) if first != other else float(logits[first])


def _kind(model: Model, step: Hybrid) -> str:
    """The type of the weight that a step multiplies with, "" where it is no product."""
    name = f"{model.family.tensors_of(step.layer)}{step.part}" if step.layer >= 0 else step.part
    info = model.file.tensors.get(f"{name}.weight", model.file.tensors.get(name))  # adapters have no such ending
    return "" if info is None else GGMLType(info.type).name
