"""The account of a prediction that is shown first: what every token gives to it under the most faithful rules.

An exact linear account is not unique, nor is it faithful for being exact. Which rules of linearisation and which
quantity foretell best what a model does without a token was measured (docs/faithfulness.md); `faithful_rules`,
`ABOVE` and `RANKING` in `ggufjac.analyses.options` name them, and nothing else decides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ggufjac.analyses.common.questions import Question, ask, functionals
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.options import ABOVE, RANKING, Above, AnalysisOptions, faithful_rules

#: How much longer than a usual token's the state of a sink is, in most layers. (Measured on SmolLM2, Gemma 3 and
#: Qwen2.5: 7 to 83 times for the first token, at most 1.2 for all others.)
SINK = 3.0


@dataclass(frozen=True)
class Account:
    """What every token gives to a quantity: terms, constants and what is missed add up to its value.

    question: the quantity; rules: how the model was linearised; terms: of every token; constants: what the network's
    biases give, and the head's; missed: what the map leaves out, the value without all these. sinks: positions of
    tokens whose states outgrow all others, whatever they say (nearly always the first one, alone); attention rests on
    them, and their terms tell what all prompts share.
    """

    question: Question
    rules: str
    terms: tuple[float, ...]
    constants: float
    missed: float
    sinks: tuple[int, ...]


def accounts_of(
    subject: Subject, target: int | None = None, above: Sequence[Above] = (ABOVE, RANKING)
) -> tuple[Account, ...]:
    """Accounts of one token (None: the likeliest) at the subject's prompt, one for each quantity, by the rules that are
    the most faithful to it. A pass up the network and a sweep of a column for each.

    Where the subject's map has other rules this makes maps of its own, one after the other: ask before `subject.linear`
    is made, so that memory never holds the coefficients of several.
    """
    return tuple(_account(subject, target, each) for each in above)


def _account(subject: Subject, target: int | None, above: Above) -> Account:
    options = faithful(subject.options, above)
    same = options.linearisation == subject.options.linearisation
    linear = subject.linear if same else subject.linearized(options)
    question = ask(linear.logits, subject.speller, target, above, None)
    w, b = functionals(linear, (question,))
    given = linear.attribute(w)[0]
    subject.require_numbers(given)
    *terms, constant = given.tolist()
    constants = constant + float(b[0])
    missed = question.value - sum(terms) - constants
    found = sinks(linear.forward_pass.states)
    return Account(question, str(options.linearisation), tuple(terms), constants, missed, found)


def sinks(states: Sequence[Tensor]) -> tuple[int, ...]:
    """The positions of sinks; states [..., T, n]: what entered every block, and what left the last one."""
    lengths = torch.stack([state.movedim(-2, 0).flatten(1).norm(dim=1) for state in states[:-1]])
    beside = (lengths / lengths.median(1, keepdim=True).values).median(0).values
    return tuple((beside > SINK).nonzero().flatten().tolist())


def faithful(options: AnalysisOptions, above: Above) -> AnalysisOptions:
    """The same options with the most faithful rules for a quantity that this run can have."""
    return replace(options, rules=faithful_rules(above, options.run), path=None)
