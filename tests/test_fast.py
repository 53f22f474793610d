"""The short forms of `analyze` and `attribute`: the same accounts, and nothing that takes the time of a long prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ggufjac
from conftest import IDS, printed
from ggufjac.analyses.analyze import Analysis, analyze
from ggufjac.analyses.attribute import Attribution, attribute
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.options import AnalyzeOptions, AttributeOptions
from ggufjac.maps.model import Model
from ggufjac.reports.views import VIEWS

HOW = {"dtype": "float64"}


@pytest.fixture(scope="module")
def attributed(tiny: Model) -> tuple[Attribution, Attribution]:
    with torch.no_grad():
        return tuple(attribute(tiny, IDS, AttributeOptions(fast=fast, top=2, **HOW)) for fast in (False, True))


@pytest.fixture(scope="module")
def analyzed(tiny: Model) -> tuple[Analysis, Analysis]:
    with torch.no_grad():
        return tuple(
            analyze(tiny, IDS, AnalyzeOptions(fast=fast, top=2, verify=False, **HOW)) for fast in (False, True)
        )


def test_terms_are_those_of_the_long_form(attributed: tuple[Attribution, Attribution]) -> None:
    whole, brief = attributed
    assert brief.questions == whole.questions
    assert brief.accounts == whole.accounts
    assert brief.constant_sources == whole.constant_sources
    assert (brief.components, brief.writes, brief.carried) == ((), (), ())
    assert brief.rest == pytest.approx([sum(row.terms[i] for row in brief.tokens) for i in range(len(brief.rest))])
    assert {"terms", "functionals", "constants"} <= brief.arrays.keys() < whole.arrays.keys()


def test_accounts_are_those_of_the_long_form(analyzed: tuple[Analysis, Analysis]) -> None:
    whole, brief = analyzed
    assert brief.accounts == whole.accounts
    assert [row.logit for row in brief.tokens] == pytest.approx([row.logit for row in whole.tokens])
    assert not brief.combined
    assert not any(row.triplets for row in brief.tokens)
    assert brief.combined_stable_rank != brief.combined_stable_rank
    assert brief.to_dict()["combined_stable_rank"] is None


@pytest.mark.parametrize("name", ["attributed", "analyzed"])
def test_every_view_shows_it(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    whole, brief = request.getfixturevalue(name)
    for width in (60, 110, 200):
        shown = printed(brief, width)
        assert "nan" not in shown
        assert len(shown) < len(printed(whole, width))
    assert "Which words mattered" in VIEWS.page(brief)
    pytest.importorskip("matplotlib")
    assert 0 < len(brief.plot(tmp_path / "pictures")) < len(whole.plot(tmp_path / "more"))
    brief.save(tmp_path / "brief.safetensors")
    assert ggufjac.load(tmp_path / "brief.safetensors").to_dict() == brief.to_dict()


@pytest.mark.parametrize("n", [1, 2, 3, 13])
def test_the_quick_check_is_the_whole_map(tiny: Model, n: int) -> None:
    subject = Subject(tiny, IDS[:n], AttributeOptions(**HOW))
    with torch.no_grad():
        rebuilt = subject.rebuilt(fast=True)
        torch.testing.assert_close(rebuilt, subject.linear.reconstruction(), rtol=1e-12, atol=1e-12)
        # and sees where the map is another
        subject.linear.operators = subject.linear.operators[1:]
        assert float((subject.rebuilt(fast=True) - subject.linear.output).norm()) > 1e-3
