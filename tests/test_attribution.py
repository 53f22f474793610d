"""Attribution of a small model: everything adds up, and every part is what a dense computation says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.attribute import Attribution, attribute
from ggufjac.analyses.common.account import accounts_of
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.options import CONTRAST, LIKELIHOOD, AnalysisOptions, AttributeOptions
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.reports.account import title
from ggufjac.rules import rules_called
from tinymodels import make

TARGETS = (42, 280)


@pytest.fixture(scope="module", params=["detached", "lrp"])
def result(tiny: Model, request: pytest.FixtureRequest) -> Attribution:
    options = AttributeOptions(target=TARGETS, against=7, top=5, dtype=torch.float64, rules=request.param)
    with torch.no_grad():
        return attribute(tiny, IDS, options)


def text(result: Attribution, width: int) -> str:
    return printed(result, width)


def test_everything_adds_up(result: Attribution) -> None:
    values = [question.value for question in result.questions]
    credited = [sum(row.terms[i] for row in result.tokens) + c for i, c in enumerate(result.constants)]
    for i, value in enumerate(values):
        assert credited[i] + result.missed[i] == pytest.approx(value, rel=1e-10)
        by_component = sum(component.terms[i] for component in result.components)
        assert by_component + result.rest[i] + result.constants[i] == pytest.approx(credited[i], rel=1e-10)
    assert sum(write.total for write in result.writes) == pytest.approx(credited[0], rel=1e-10)
    for t, row in enumerate(result.tokens):
        assert sum(write.tokens[t] for write in result.writes) == pytest.approx(row.terms[0], abs=1e-10)
    # what the positions are worth is what they will give by these rules: in the end the value, at first the terms
    exact = result.rules == "detached"
    assert sum(result.carried[-1]) == pytest.approx(values[0], rel=1e-10)
    assert sum(result.carried[0]) == pytest.approx(credited[0], rel=1e-10)
    assert all((sum(row) == pytest.approx(values[0], rel=1e-10)) or not exact for row in result.carried)
    assert max(map(abs, result.missed)) < 1e-10 if exact else min(map(abs, result.missed)) > 1e-4
    assert abs(result.constants[0]) > 1e-4  # this model has biases


def test_constants_are_told_apart(tiny: Model, result: Attribution) -> None:
    for i, constant in enumerate(result.constants):
        assert sum(source.terms[i] for source in result.constant_sources) == pytest.approx(constant, abs=1e-11)
        assert sum(row.constants[i] for row in result.tokens) == pytest.approx(constant, abs=1e-11)
    for source in result.constant_sources:
        assert sum(source.positions) == pytest.approx(source.terms[0], abs=1e-12)
        assert source.name in tiny.file.tensors
    by_position = [sum(source.positions[t] for source in result.constant_sources) for t in range(len(IDS))]
    assert by_position == pytest.approx([row.constants[0] for row in result.tokens], abs=1e-11)
    assert result.arrays["constants"].shape == (len(result.constant_sources), len(TARGETS), len(IDS))


def test_constants_are_shown_with_the_tokens_where_they_enter(tiny: Model) -> None:
    asked = AttributeOptions(target=TARGETS, top=1, dtype=torch.float64, constants="tokens")
    with torch.no_grad():
        found = attribute(tiny, IDS[:5], asked)
    assert not any(found.apart)
    for i, question in enumerate(found.questions):
        assert sum(terms[i] for terms in found.given) + found.missed[i] == pytest.approx(question.value, rel=1e-10)
    assert any(abs(row.constants[0]) > 1e-3 for row in found.tokens)
    rows = text(found, 120).split("Which words mattered")[1].split("Constants")[0]
    assert "biases" not in rows
    assert f"{found.given[4][0]:+.2f}" in rows
    apart = text(replace(found, constants_at_tokens=False), 120).split("Which words mattered")[1].split("Constants")[0]
    assert "biases" in apart
    with pytest.raises(UserError, match="apart, tokens"):
        AttributeOptions(constants="layers")  # type: ignore[arg-type]


def test_the_heads_bias_is_a_constant_at_the_last_position(tmp_path: Path) -> None:
    with Model.open(make("phi2", tmp_path / "tiny.gguf")) as model, torch.no_grad():
        found = attribute(model, IDS[:4], AttributeOptions(top=1, dtype=torch.float64))
    head = found.constant_sources[-1]
    assert (head.layer, head.part, head.name) == (None, None, "output.bias")
    assert not any(head.positions[:-1])
    assert sum(source.terms[0] for source in found.constant_sources) == pytest.approx(found.constants[0], rel=1e-9)


def test_values_and_terms_are_those_of_the_full_map(tiny: Model, result: Attribution) -> None:
    linear = tiny.linearize(IDS, dtype=torch.float64, rules=result.rules)
    against = linear.logit_functional(7)[0]
    for i, target in enumerate(TARGETS):
        assert result.questions[i].value == pytest.approx(float(linear.logits[target] - linear.logits[7]))
        w = linear.logit_functional(target)[0] - against
        dense = torch.einsum("d,dtn,tn->t", w, linear.jacobian(), linear.inputs)
        assert [row.terms[i] for row in result.tokens] == pytest.approx(dense.tolist(), rel=1e-9)
    for component in result.components:
        assert sum(component.tokens) == pytest.approx(component.terms[0], rel=1e-9)
        assert component.triplet.logit == pytest.approx(component.terms[0], rel=1e-9)


def test_float32_adds_up_to_five_digits(tiny: Model) -> None:
    with torch.no_grad():
        found = attribute(tiny, IDS, AttributeOptions(top=2, rules="detached", above="zero"))
    scale = abs(found.questions[0].target.logit)
    assert [q.target.rank for q in found.questions] == [1, 2, 3, 4]
    assert abs(found.missed[0]) < 1e-5 * scale
    assert sum(write.total for write in found.writes) == pytest.approx(found.questions[0].value, abs=1e-5 * scale)


def test_above_the_mean_of_all_logits(tiny: Model) -> None:
    with torch.no_grad():
        found = attribute(tiny, IDS[:4], AttributeOptions(above="mean", top=1, dtype=torch.float64, rules="gate"))
    linear = tiny.linearize(IDS[:4], dtype=torch.float64)
    assert found.questions[0].value == pytest.approx(float(linear.logits.max() - linear.logits.mean()))
    assert abs(found.missed[0]) < 1e-10


def test_the_account_is_what_is_explained_where_nothing_is_asked(tiny: Model) -> None:
    with torch.no_grad():
        found = attribute(tiny, IDS, AttributeOptions(top=1, dtype="float64"))
        likely = attribute(tiny, IDS, AttributeOptions(top=1, dtype="float64", above="chance"))
        accounts = accounts_of(Subject(tiny, IDS, AnalysisOptions(dtype="float64")))
    assert (found.rules, likely.rules) == (CONTRAST, LIKELIHOOD)
    for asked, account in zip((found.accounts[0], likely.accounts[0]), accounts, strict=True):
        assert asked.question == account.question
        assert asked.terms == pytest.approx(account.terms, rel=1e-12)
        assert asked.missed == pytest.approx(account.missed, rel=1e-9, abs=1e-12)
    assert AttributeOptions(against=7).linearisation == rules_called(CONTRAST)
    assert AttributeOptions(path="gate").linearisation == rules_called("gate")
    assert AttributeOptions(run="llama.cpp", above="zero").linearisation == rules_called(LIKELIHOOD).exact
    with pytest.raises(UserError, match="derivatives"):
        AttributeOptions(run="llama.cpp", rules="lrp")


def test_wrong_questions(tiny: Model) -> None:
    for options, message in (
        (AttributeOptions(target=(99999,)), "no token 99999"),
        (AttributeOptions(against=-1), "no token -1"),
        (AttributeOptions(target=(5,), against=5), "against itself"),
        (AttributeOptions(against=5, above="mean"), "not both"),
    ):
        with pytest.raises(UserError, match=message):
            attribute(tiny, IDS, options)


@pytest.mark.parametrize("width", [40, 60, 80, 104, 140])
def test_the_report_fits(result: Attribution, width: int) -> None:
    shown = text(result, width)
    assert max(map(len, shown.splitlines())) <= width
    for word in (title(result.rules), "Components", "Layers", "direct", "sum"):
        assert word in shown


def test_a_long_prompt_shows_the_tokens_that_matter_and_the_sum_of_the_others(result: Attribution) -> None:
    shown = text(result, 104)
    assert "others" in shown
    last = shown[shown.index("Layers") :].splitlines()
    total = next(line for line in last if line.strip().startswith("sum"))
    numbers = [float(number) for number in total.split()[1:]]
    parts = len({write.part for write in result.writes[1:]})
    assert sum(numbers[: -1 - parts]) == pytest.approx(numbers[-1], abs=0.2)


def test_round_trip(result: Attribution, tmp_path: Path) -> None:
    result.save(tmp_path / "run.safetensors")
    again = load(tmp_path / "run.safetensors")
    assert again == result
    assert json.loads(result.to_json())["schema"] == "ggufjac.attribution/2"
    assert result.arrays["writes"].shape == (1 + 2 * (len(result.carried) - 1), len(IDS) + 1)
    assert text(replace(result, arrays={}), 100) == text(again, 100)  # type: ignore[arg-type]


def test_the_command(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = str(tmp_path / "a.safetensors")
    asked = ["--target", "#42", "--against", "#7", "--top", "2"]
    assert run(["attribute", str(tiny_path), "The", *asked, "--save", saved]) == 0
    printed = capsys.readouterr().out
    assert "over" in printed
    assert run(["show", saved]) == 0
    assert capsys.readouterr().out == printed
    assert run(["attribute", str(tiny_path), "The", "--against", ""]) == 2
    assert capsys.readouterr().err.startswith("ggufjac: --against: no token is")
