"""The account of a prediction that is shown first: what every token gives to it under the most faithful rules.

An exact linear account is not unique, nor is it faithful for being exact. Which rules of linearisation and which
quantity foretell best what a model does without a token was measured (docs/faithfulness.md); `FAITHFUL` and `ABOVE` in
`ggufjac.analyses.options` name them, and nothing else decides it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ggufjac.analyses.common.questions import Question, ask, functionals
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.options import ABOVE, AnalysisOptions, faithful_rules


@dataclass(frozen=True)
class Account:
    """What every token gives to a quantity: terms, constants and what is missed add up to its value.

    question: the quantity; rules: how the model was linearised; terms: of every token; constants: what the network's
    biases give, and the head's; missed: what the map leaves out, the value without all these.
    """

    question: Question
    rules: str
    terms: tuple[float, ...]
    constants: float
    missed: float


def account_of(subject: Subject, target: int | None = None) -> Account:
    """The account of one token's logit (None: the likeliest) at the subject's prompt. A sweep of one column.

    Where the subject's map has other rules this makes a map of its own and drops it: ask before `subject.linear` is
    made, so that memory never holds the coefficients of both.
    """
    options = faithful(subject.options)
    same = options.linearisation == subject.options.linearisation
    linear = subject.linear if same else subject.model.linearize_with(subject.ids, options)
    question = ask(linear, subject.speller, target, ABOVE, None)
    w, b = functionals(linear, (question,))
    *terms, constant = linear.attribute(w)[0].tolist()
    constants = constant + float(b[0])
    missed = question.value - sum(terms) - constants
    return Account(question, str(options.linearisation), tuple(terms), constants, missed)


def faithful(options: AnalysisOptions) -> AnalysisOptions:
    """The same options with the most faithful rules that this run can have."""
    return replace(options, rules=faithful_rules(options.run), path=None)
