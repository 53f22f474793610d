"""What a result says in one row of a table: what is predicted, what is explained, and which words gave most."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from ggufjac.analyses.ablate import Ablation
from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.answer.answering import Answer
from ggufjac.analyses.answer.phrase import Phrase
from ggufjac.analyses.attribute import Attribution
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
    explained, explained_rank, explained_probability = _explained(result)
    # a sum of squares over one that was not asked for is no number
    rank = None if analysis is None or analysis.combined_stable_rank != analysis.combined_stable_rank else analysis
    return {
        "text": result.prompt,
        "n_tokens": len(result.arrays["tokens"]),
        "prediction": first.token.text,
        "prediction_id": first.token.id,
        "probability": first.probability,
        "logit": first.logit,
        "explained": explained,
        "explained_rank": explained_rank,
        "explained_probability": explained_probability,
        "rules": result.rules,
        "reconstruction": reconstruction_of(result),
        "stable_rank": None if rank is None else rank.combined_stable_rank,
        "verdict": _verdict(result) if agreement is None else agreement.verdict,
        "kl": None if agreement is None else agreement.kl,
        **_sources(result),
        "notes": json.dumps(result.notes) if result.notes else None,
    }


def reconstruction_of(result: Any) -> float:
    """The relative error of the linear map; beside an ordinary one, of the detached."""
    detached = getattr(result, "detached", None)
    error: float = result.reconstruction if detached is None else detached.error
    return error


def _explained(result: Any) -> tuple[str | None, int | None, float | None]:
    """What is explained or followed, an answer, a target of several tokens or a token, with its rank, if it is one, and
    its probability."""
    if isinstance(result, Answer):
        return result.text, None, math.exp(result.log_probability)
    phrase = _phrase(result)
    if phrase is not None:
        return phrase.text, None, math.exp(phrase.log_probability)
    target = result.questions[0].target if isinstance(result, Attribution) else getattr(result, "target", None)
    return (None, None, None) if target is None else (target.token.text, target.rank, target.probability)


def _phrase(result: Any) -> Phrase | None:
    """The target of several tokens, of analyses that account for it."""
    if isinstance(result, Attribution):
        return result.phrases[0] if result.phrases else None
    return result.phrase if isinstance(result, Analysis | Ablation) else None


def _verdict(result: Any) -> str | None:
    """llama.cpp's opinion of an answer: the worst of all its places."""
    if not isinstance(result, Answer) or result.judged is None or result.judged.reason:
        return None
    verdicts = {place.verdict for place in result.judged.differing}
    return next((verdict for verdict in ("MISMATCH", "NEAR-TIE") if verdict in verdicts), "MATCH")


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
    if isinstance(result, Answer):
        return _of_words(result.whole[: result.n_prompt], result.sinks, result.words, result.turns)
    phrase = _phrase(result)
    if isinstance(result, Analysis | Attribution):
        account = result.accounts[0]
        terms = account.terms if phrase is None else phrase.terms
        return _of_words(terms, account.sinks, result.words, result.turns)
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


def _of_words(
    terms: Sequence[float], sinks: Sequence[int], words: Sequence[Word], turns: Sequence[Turn]
) -> list[tuple[str, float]]:
    """The terms of words, without sinks, which have what all tokens share; of a chat, those of its messages."""
    said = [t for turn in turns for t in range(turn.start, turn.stop)] if turns else range(len(terms))
    counted = set(said) - set(sinks)
    spread = [(word, [t for t in range(word.start, word.stop) if t in counted]) for word in words]
    return [(word.text, sum(terms[t] for t in tokens)) for word, tokens in spread if tokens]
