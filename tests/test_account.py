"""The account that is shown first: its rows add up to the value, and its map is that of the rules it names."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.attribute import attribute
from ggufjac.analyses.common import account, questions
from ggufjac.analyses.common.predictions import Prediction
from ggufjac.analyses.common.questions import LIKELIEST, Question, ask, functionals
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.analyses.options import LIKELIHOOD, RANKING, Above, AnalysisOptions, AttributeOptions
from ggufjac.maps.model import Model
from ggufjac.reports import account as said
from ggufjac.reports.terminal import terms
from ggufjac.rules import rules_called


@pytest.mark.parametrize("above", ["zero", "rival", "likeliest", "mean", "chance"])
@pytest.mark.parametrize("target", [None, 42])
def test_a_question_is_a_functional_of_the_output(tiny: Model, above: Above, target: int | None) -> None:
    subject = Subject(tiny, IDS, AnalysisOptions(dtype="float64"))
    linear = subject.linear
    logits = linear.logits
    asked = ask(linear.logits, subject.speller, target, above, None)
    first, second = logits.topk(2).indices.tolist()
    wanted = first if target is None else target
    rival = second if wanted == first else first
    others = torch.cat((logits[:wanted], logits[wanted + 1 :]))
    below = {
        "zero": 0.0,
        "rival": logits[rival],
        "likeliest": others.topk(LIKELIEST).values.mean(),
        "mean": logits.mean(),
    }
    if above == "chance":
        gained = logits.log_softmax(-1)[wanted] + math.log(len(logits))
        assert asked.value == pytest.approx(float(gained), rel=1e-11)
    else:
        assert asked.value == pytest.approx(float(logits[wanted] - below[above]), rel=1e-12)
    assert (asked.against is not None and asked.against.token.id == rival) == (above == "rival")
    w, b = functionals(linear, (asked,))
    assert float(w[0] @ linear.output + b[0]) == pytest.approx(asked.value, rel=1e-11)


def test_a_question_above_a_token(tiny: Model) -> None:
    subject = Subject(tiny, IDS, AnalysisOptions(dtype="float64"))
    asked = ask(subject.linear.logits, subject.speller, 42, "zero", 7)
    assert (asked.above, asked.value) == (
        "token",
        pytest.approx(float(subject.linear.logits[42] - subject.linear.logits[7])),
    )


@pytest.mark.parametrize("rules", ["detached", LIKELIHOOD])
def test_the_account_is_of_the_faithful_rules_whatever_the_map_is(tiny: Model, rules: str) -> None:
    found = account.accounts_of(Subject(tiny, IDS, AnalysisOptions(dtype="float64", rules=rules)), above=(RANKING,))[0]
    linear = tiny.linearize(IDS, "float64", rules=LIKELIHOOD)
    w, b = functionals(linear, (found.question,))
    dense = torch.einsum("d,dtn,tn->t", w[0], linear.jacobian(), linear.inputs)
    assert found.terms == pytest.approx(dense.tolist(), rel=1e-9, abs=1e-12)
    assert found.constants == pytest.approx(float(w[0] @ linear.constant + b[0]), rel=1e-9)
    missed = float(w[0] @ (linear.output - linear.reconstruction()))
    assert found.missed == pytest.approx(missed, abs=1e-11)
    assert found.rules == LIKELIHOOD


def test_one_map_at_a_time(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject(tiny, IDS, AnalysisOptions())
    account.accounts_of(subject)
    assert "linear" not in subject.__dict__
    same = Subject(tiny, IDS, AnalysisOptions(rules=LIKELIHOOD))
    made = same.linear
    monkeypatch.setattr(tiny, "linearize_with", None)
    account.accounts_of(same, above=(RANKING,))
    assert same.linear is made


def test_a_run_without_derivatives_has_the_nearest_rules_that_reconstruct() -> None:
    options = account.faithful(AnalysisOptions(run="llama.cpp", path="gate"), RANKING)
    assert options.linearisation.reconstructs
    assert options.linearisation == rules_called(LIKELIHOOD).exact
    assert account.faithful(AnalysisOptions(path="gate"), RANKING).linearisation == rules_called(LIKELIHOOD)


def test_sinks_are_tokens_whose_states_outgrow_the_others() -> None:
    states = torch.ones(5, 4, 8)
    states[1:4, 0] *= 40  # in most layers
    states[2, 3] *= 40  # in one
    assert account.sinks(list(states)) == (0,)
    assert account.sinks([state[:1] for state in states]) == ()
    lanes = torch.stack((states, states), 1)  # states of two planes
    assert account.sinks(list(lanes)) == (0,)


def long_account(n: int, sinks: tuple[int, ...] = ()) -> tuple[account.Account, list[Word], list[Piece]]:
    """An account of n tokens, two to a word, whose terms grow from word to word; signs alternate."""
    values = tuple((-1.0) ** (t // 2) * (t // 2) for t in range(n))
    target = Prediction(Piece(1, " x"), 3.0, 0.5, 1)
    value = sum(values) + 0.5 + 0.25
    question = Question(target, "mean", None, value)
    made = account.Account(question, LIKELIHOOD, values, 0.5, 0.25, sinks)
    words = [Word(f" w{t // 2}", t, t + 2) for t in range(0, n, 2)]
    return made, words, [Piece(t, f" t{t}") for t in range(n)]


def test_of_many_words_the_largest_are_listed_and_the_others_are_one_row() -> None:
    made, words, pieces = long_account(80, sinks=(0,))
    assert [row.tokens for row in said.rows((made,), words)[:2]] == [(1,), (2, 3)]
    table = terms.of_words((made,), words, pieces, 100)
    names = [str(cell) for cell in table.columns[1].cells]
    assert names[: terms.LARGEST] == [f"␣w{i}" for i in range(40 - terms.LARGEST, 40)]
    assert names[terms.LARGEST :] == [
        f"… {40 - terms.LARGEST} others",
        "shared by all (␣t0)",
        "constants",
        "not credited",
        "sum",
    ]
    numbers = [float(str(cell) or 0) for cell in table.columns[2].cells]
    assert sum(numbers[:-1]) == pytest.approx(numbers[-1], abs=0.05)
    assert len(terms.of_words((made,), words, pieces, terms.EVERYTHING).rows) == 40 + 4


def test_tokens_of_a_word_are_told_apart() -> None:
    made, words, pieces = long_account(6)
    table = terms.of_words((made,), words, pieces, 100)
    assert [str(cell) for cell in table.columns[-1].cells][:3] == [
        "␣t0 +0.00 · ␣t1 +0.00",
        "␣t2 -1.00 · ␣t3 -1.00",
        "␣t4 +2.00 · ␣t5 +2.00",
    ]
    assert [str(cell) for cell in table.columns[0].cells][:3] == ["0–1", "2–3", "4–5"]


def test_a_likelier_token_with_a_space_is_pointed_out(tiny: Model) -> None:
    with torch.no_grad():
        found = attribute(tiny, IDS[:4], AttributeOptions(target=(42,), top=1))
    first = replace(found.predictions[0], token=Piece(7, " Paris"))
    asked = replace(found.questions[0], target=replace(found.questions[0].target, token=Piece(8, "Paris"), rank=44))
    changed = replace(found, predictions=(first, *found.predictions[1:]), questions=(asked, *found.questions[1:]))
    assert "did you mean  ␣Paris is rank 1" in printed(changed, 100)
    assert "did you mean" not in printed(found, 100)


@pytest.mark.parametrize("spread", [0.1, 30.0, 3000.0, 1e5])
def test_chance_tells_ln_p_however_far_apart_logits_are(spread: float) -> None:
    logits = spread * torch.randn(500, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = questions._mean_softmax(logits)
    assert abs(float(weights.sum()) - 1) < 1e-12
    for token in (int(logits.argmax()), 7):
        gained = float(logits.log_softmax(-1)[token]) + math.log(len(logits))
        assert float(logits[token] - weights @ logits) == pytest.approx(gained, rel=1e-9, abs=1e-9)
