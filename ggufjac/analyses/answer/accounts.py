"""Accounts of many tokens of one text: a column of one sweep for each."""

from __future__ import annotations

from collections.abc import Sequence

from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.questions import question_and_weights
from ggufjac.analyses.common.tokens import Speller
from ggufjac.analyses.options import Above
from ggufjac.maps.text import TextMap


def accounts_at(
    linear: TextMap,
    said: Sequence[int],
    speller: Speller,
    above: Above,
    against: Sequence[int | None] | None = None,
    places: Sequence[int] | None = None,
) -> list[Account]:
    """What every token gives to those that were said at the map's positions.

    said: a token for each position; above: what they are taken above, or instead the tokens `against`; places: at which
    of the positions (None: all). An account has a term for every token up to its position. One sweep of as many
    columns.
    """
    where = range(len(said)) if places is None else places
    of_logits, asked = linear.inputs.new_zeros(linear.logits.shape, device="cpu"), []
    for i in where:
        rival = None if against is None else against[i]
        question, of_logits[i] = question_and_weights(linear.logits[i], speller, said[i], above, rival)
        asked.append(question)
    w, b = linear.functionals(of_logits)
    del of_logits
    terms = linear.attribute(w[list(where)], list(where)).cpu().double()
    found = []
    for i, question, row in zip(where, asked, terms, strict=True):
        given, constants = row[: linear.positions[i] + 1].tolist(), float(row[-1] + b[i])
        missed = question.value - sum(given) - constants
        found.append(Account(question, str(linear.rules), tuple(given), constants, missed, ()))
    return found
