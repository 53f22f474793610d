"""Reports at the widths that terminals have: nothing is cut that is a number or a picture, and pictures stay."""

from __future__ import annotations

import dataclasses
import re

import pytest

from conftest import printed
from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.attribute import Attribution
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.compare.comparison import Comparison, compare
from ggufjac.analyses.options import CompareOptions
from ggufjac.analyses.table import KINDS
from ggufjac.maps.model import Model
from ggufjac.reports.account import title
from ggufjac.reports.page import EVERYTHING
from ggufjac.reports.terminal import report
from ggufjac.reports.terminal.layout import named
from ggufjac.reports.terminal.terms import heading
from test_page_is_report import bars, tables

WIDTHS = (60, 80, 100, 120)


@pytest.fixture(params=sorted(KINDS))
def result(request: pytest.FixtureRequest, results: dict[str, Result]) -> Result:
    return results[request.param]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_and_no_bar_is_cut(result: Result, width: int) -> None:
    shown = printed(report(result), width, no_color=True)
    assert max(map(len, shown.splitlines())) <= width
    assert re.findall(r"[-+]?[\d.e+%-]*\d[.e+-]*…|[█▉▊▋▌▍▎▏]…", shown) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_every_table_with_a_picture_keeps_one(result: Result, width: int) -> None:
    wide = {title for title, table in tables(result, EVERYTHING) if bars(table)}
    assert {title for title, table in tables(result, width) if bars(table)} == wide


@pytest.mark.parametrize("width", WIDTHS)
def test_of_two_prompts_the_moves_are_drawn_at_any_width(tiny: Model, width: int) -> None:
    compared = compare((tiny,), ([1, 300, 17], [1, 300, 42]), CompareOptions(top=2))
    assert isinstance(compared, Comparison)
    drawn = [title for title, table in tables(compared, width) if bars(table)]
    assert any("input tokens" in title for title in drawn)


def test_the_numbers_of_rivals_go_before_the_picture(results: dict[str, Result]) -> None:
    a = results["attribution"]
    assert isinstance(a, Attribution)
    assert len(a.questions) == 4
    asked = [" ".join(heading(question).plain.split("\n")) for question in a.questions]
    counts = []
    for width in (40, 50, 60, 80, 120):
        (table,) = (table for name, table in tables(a, width) if name == title(a.rules))
        assert bars(table)
        names = [named(column) for column in table.columns]
        shown = [name for name in names if name in asked]
        assert shown == asked[: len(shown)]
        counts.append(len(shown))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 4


def test_the_models_name_is_what_was_typed_and_its_own_beside_it(results: dict[str, Result]) -> None:
    a = results["analysis"]
    assert isinstance(a, Analysis)
    for name, file, said in (
        ("SmolLM2 135M 8k", "smollm2-135m.Q4_1.gguf", "smollm2-135m.Q4_1 (SmolLM2 135M 8k)  llama"),
        ("Tiny Llama", "tiny-llama.gguf", "tiny-llama  llama"),
    ):
        changed = dataclasses.replace(a, model=dataclasses.replace(a.model, name=name, file=file))
        assert said in printed(report(changed), 200, no_color=True)


def test_agreement_in_plain_words(results: dict[str, Result]) -> None:
    shown = " ".join(printed(report(results["analysis"]), 200, no_color=True).split())
    assert re.search(r"\(\d+ of the first ten tokens are the same, KL", shown)
