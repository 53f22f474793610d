"""What a result says in one row of a table: what is predicted, what is explained, and which words gave most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ggufjac.analyses.ablate import Ablation
from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.attribute import Attribution
from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.words import Word
from ggufjac.analyses.layers import Layers
from ggufjac.analyses.ordinary import Ordinary
from ggufjac.chat.prompt import Turn

#: How many sources of the prediction have columns.
SOURCES = 3


def headline(result: Any) -> dict[str, Any]:
    """The columns that a result has in the table; None where its kind has none."""
    first = result.predictions[0]
    analysis = result if isinstance(result, Analysis) else None
    agreement = None if analysis is None else analysis.agreement
    detached = getattr(result, "detached", None)
    explained = _explained(result)
    # a sum of squares over one that was not asked for is no number
    rank = None if analysis is None or analysis.combined_stable_rank != analysis.combined_stable_rank else analysis
    return {
        "text": result.prompt,
        "n_tokens": len(result.arrays["tokens"]),
        "prediction": first.token.text,
        "prediction_id": first.token.id,
        "probability": first.probability,
        "logit": first.logit,
        "explained": None if explained is None else explained.token.text,
        "explained_rank": None if explained is None else explained.rank,
        "explained_probability": None if explained is None else explained.probability,
        "reconstruction": result.reconstruction if detached is None else detached.error,
        "stable_rank": None if rank is None else rank.combined_stable_rank,
        "verdict": None if agreement is None else agreement.verdict,
        "kl": None if agreement is None else agreement.kl,
        **_sources(result),
    }


def _explained(result: Any) -> Any:
    """The prediction that is explained or followed."""
    if isinstance(result, Attribution):
        return result.questions[0].target
    return getattr(result, "target", None)


def _sources(result: Any) -> dict[str, Any]:
    """The largest terms with what they are of."""
    terms = sorted(_terms(result), key=lambda named: -abs(named[1]))[:SOURCES]
    padded = [*terms, *[(None, None)] * (SOURCES - len(terms))]
    return {
        name: value
        for i, (source, term) in enumerate(padded, 1)
        for name, value in ((f"source{i}", source), (f"term{i}", term))
    }


def _terms(result: Any) -> list[tuple[str, float]]:
    """What the words, or the tokens, of the prompt give to what is explained."""
    if isinstance(result, Analysis | Attribution):
        return _of_words(result.accounts[0], result.words, result.turns)
    if isinstance(result, Ablation):
        return [
            (row.token.text, result.account.terms[row.position])
            for row in result.tokens
            if row.position not in result.account.sinks
        ]
    if isinstance(result, Layers):
        return [(token.text, share) for token, share in zip(result.tokens, result.readings[-1].shares, strict=True)]
    if isinstance(result, Ordinary):
        return [(token.text, term) for token, term in zip(result.tokens, result.detached.terms, strict=True)]
    return []


def _of_words(account: Account, words: Sequence[Word], turns: Sequence[Turn]) -> list[tuple[str, float]]:
    """The terms of words, without sinks, which have what all tokens share; of a chat, those of its messages."""
    said = [t for turn in turns for t in range(turn.start, turn.stop)] if turns else range(len(account.terms))
    counted = set(said) - set(account.sinks)
    spread = [(word, [t for t in range(word.start, word.stop) if t in counted]) for word in words]
    return [(word.text, sum(account.terms[t] for t in tokens)) for word, tokens in spread if tokens]
