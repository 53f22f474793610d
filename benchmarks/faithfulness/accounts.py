"""The accounts: each says of a prompt how much every token gave to a quantity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.faithfulness.case import Case
from benchmarks.faithfulness.others import gradients, left_out, random_order, rollout, zeroed
from benchmarks.faithfulness.quantities import LOG_P, NAMES
from ggufjac.rules import PRESETS, rules_called

#: Terms [len(names), T] of these quantities.
Terms = Callable[[Case, Sequence[str]], Tensor]


@dataclass(frozen=True)
class Account:
    """cost: what it takes beside the run that predicts, for one quantity. quantities: those that it can explain; what
    does not depend on any is held against ln p."""

    name: str
    cost: str
    terms: Terms
    quantities: Sequence[str] = field(default=NAMES)


def by_rules(name: str) -> Account:
    """The terms of a map under some rules, or the sum of several such, "lrp + detached"; the constant is nobody's."""
    parts = [part.strip() for part in name.split("+")]
    for part in parts:
        rules_called(part)

    def terms(case: Case, names: Sequence[str]) -> Tensor:
        return torch.stack([_terms(case, part, names) for part in parts]).sum(0)

    return Account(name, "1 sweep" if len(parts) == 1 else f"{len(parts)} sweeps", terms)


def _terms(case: Case, rules: str, names: Sequence[str]) -> Tensor:
    linear = case.model.linearize(case.ids, rules=rules)
    return linear.attribute(case.functionals(linear, names))[:, :-1]


STEPS = 24


def _integrated(case: Case, names: Sequence[str]) -> Tensor:
    return gradients(case, names, [(i + 0.5) / STEPS for i in range(STEPS)])


OTHERS = (
    Account("zeroing each token", "T runs", zeroed),
    Account("leaving each token out", "T runs", left_out),
    Account("integrated gradients", f"{STEPS} runs, {STEPS} sweeps", _integrated, ("centred", LOG_P)),
    Account("attention rollout", "0", rollout, (LOG_P,)),
    Account("random order", "0", random_order, (LOG_P,)),
)


def accounts(rules: Sequence[str] = tuple(PRESETS), others: bool = True) -> list[Account]:
    """All of them; zeroing comes first, as its runs are needed by all that follow and its time is its own."""
    return [*(OTHERS if others else OTHERS[:1]), *map(by_rules, rules)]
