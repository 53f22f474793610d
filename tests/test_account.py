"""The account that is shown first: its rows add up to the value, and its map is that of the rules it names."""

from __future__ import annotations

import pytest
import torch

from conftest import IDS
from ggufjac.analyses.common import account
from ggufjac.analyses.common.questions import LIKELIEST, ask, functionals
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.options import FAITHFUL, Above, AnalysisOptions
from ggufjac.maps.model import Model
from ggufjac.rules import rules_called


@pytest.mark.parametrize("above", ["zero", "rival", "likeliest", "mean"])
@pytest.mark.parametrize("target", [None, 42])
def test_a_question_is_a_functional_of_the_output(tiny: Model, above: Above, target: int | None) -> None:
    subject = Subject(tiny, IDS, AnalysisOptions(dtype="float64"))
    linear = subject.linear
    logits = linear.logits
    asked = ask(linear, subject.speller, target, above, None)
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
    assert asked.value == pytest.approx(float(logits[wanted] - below[above]), rel=1e-12)
    assert (asked.against is not None and asked.against.token.id == rival) == (above == "rival")
    w, b = functionals(linear, (asked,))
    assert float(w[0] @ linear.output + b[0]) == pytest.approx(asked.value, rel=1e-11)


def test_a_question_above_a_token(tiny: Model) -> None:
    subject = Subject(tiny, IDS, AnalysisOptions(dtype="float64"))
    asked = ask(subject.linear, subject.speller, 42, "zero", 7)
    assert (asked.above, asked.value) == (
        "token",
        pytest.approx(float(subject.linear.logits[42] - subject.linear.logits[7])),
    )


@pytest.mark.parametrize("rules", ["detached", FAITHFUL])
def test_the_account_is_of_the_faithful_rules_whatever_the_map_is(tiny: Model, rules: str) -> None:
    found = account.account_of(Subject(tiny, IDS, AnalysisOptions(dtype="float64", rules=rules)))
    linear = tiny.linearize(IDS, "float64", rules=FAITHFUL)
    w, b = functionals(linear, (found.question,))
    dense = torch.einsum("d,dtn,tn->t", w[0], linear.jacobian(), linear.inputs)
    assert found.terms == pytest.approx(dense.tolist(), rel=1e-9, abs=1e-12)
    assert found.constants == pytest.approx(float(w[0] @ linear.constant + b[0]), rel=1e-9)
    missed = float(w[0] @ (linear.output - linear.reconstruction()))
    assert found.missed == pytest.approx(missed, abs=1e-11)
    assert found.rules == FAITHFUL


def test_one_map_at_a_time(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject(tiny, IDS, AnalysisOptions())
    account.account_of(subject)
    assert "linear" not in subject.__dict__
    same = Subject(tiny, IDS, AnalysisOptions(rules=FAITHFUL))
    made = same.linear
    monkeypatch.setattr(tiny, "linearize_with", None)
    account.account_of(same)
    assert same.linear is made


def test_a_run_without_derivatives_has_the_nearest_rules_that_reconstruct() -> None:
    options = account.faithful(AnalysisOptions(run="llama.cpp", path="gate"))
    assert options.linearisation.reconstructs
    assert options.linearisation == rules_called(FAITHFUL).exact
    assert account.faithful(AnalysisOptions(path="gate")).linearisation == rules_called(FAITHFUL)
