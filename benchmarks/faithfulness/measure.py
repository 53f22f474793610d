"""Every account of one prompt, scored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.faithfulness.accounts import Account
from benchmarks.faithfulness.case import Case
from benchmarks.faithfulness.metric import area, deleted, order, share, spearman
from benchmarks.faithfulness.others import zeroed
from benchmarks.faithfulness.quantities import LOG_P, NAMES


@dataclass(frozen=True)
class Score:
    """One account of one quantity, on one prompt (its number in the file) of a kind.

    area, spearman: by the curves of ln p, and against zeroing each token alone. own_area, own_spearman: by the curves
    of the quantity itself. first: the share of token 0. seconds: for all of the account's quantities.
    """

    prompt: int
    kind: str
    n_tokens: int
    account: str
    quantity: str
    cost: str
    area: float
    spearman: float
    own_area: float
    own_spearman: float
    first: float
    seconds: float


@dataclass(frozen=True)
class Made:
    """What an account said of a prompt: terms [T] by the quantity."""

    account: Account
    terms: dict[str, list[float]]
    seconds: float


def measure(case: Case, accounts: Sequence[Account], prompt: int, kind: str) -> list[Score]:
    """The scores of all accounts and quantities; every set of zeroed tokens is run once for all of them."""
    made = [_made(case, account) for account in accounts]
    alone = dict(zip(NAMES, zeroed(case, NAMES).tolist(), strict=True))
    rows = [terms for one in made for terms in one.terms.values()]
    case.deletion.ask(gone for terms in rows for way in _ways(terms) for gone in deleted(way))
    return [
        Score(
            prompt,
            kind,
            case.n_tokens,
            one.account.name,
            name,
            one.account.cost,
            *_scored(case, one, name, alone),
            one.seconds,
        )
        for one in made
        for name in one.terms
    ]


def _made(case: Case, account: Account) -> Made:
    since = time.perf_counter()
    terms = account.terms(case, account.quantities).tolist()
    return Made(account, dict(zip(account.quantities, terms, strict=True)), time.perf_counter() - since)


def _ways(terms: Sequence[float]) -> tuple[list[int], list[int]]:
    ranked = order(terms)
    return ranked, ranked[::-1]


def _scored(
    case: Case, made: Made, name: str, alone: dict[str, list[float]]
) -> tuple[float, float, float, float, float]:
    """Area and rank correlation by ln p, both by the quantity itself, and the share of token 0."""
    terms = made.terms[name]
    most, least = (case.deletion.values(deleted(way)) for way in _ways(terms))
    (a, rho), (own_a, own_rho) = (
        (area(most[:, NAMES.index(q)].tolist(), least[:, NAMES.index(q)].tolist()), spearman(terms, alone[q]))
        for q in (LOG_P, name)
    )
    return a, rho, own_a, own_rho, share(terms)
