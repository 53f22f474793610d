"""The longest columns and rows of a small model's maps, against the full map."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.extremes import Extremes, extremes
from ggufjac.analyses.options import ExtremesOptions
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.maps.lengths import longest
from ggufjac.maps.model import Model

PROMPT = IDS[:5]


@pytest.fixture(scope="module")
def result(tiny: Model) -> Extremes:
    with torch.no_grad():
        return extremes(tiny, PROMPT, ExtremesOptions(top=4, dtype=torch.float64))


def test_all_lengths_are_those_of_the_full_map(tiny: Model) -> None:
    linear = tiny.linearize(PROMPT, dtype=torch.float64)
    full = tiny.linearize(PROMPT, dtype=torch.float64).jacobian().transpose(0, 1)
    found = longest(linear, 6, "exact")
    assert found.exact
    columns, rows = full.norm(dim=1).topk(6), full.norm(dim=2).topk(6)
    assert torch.equal(found.columns, columns.indices)
    assert torch.equal(found.rows, rows.indices)
    torch.testing.assert_close(found.column_vectors.norm(dim=-1), columns.values)
    for t in range(len(PROMPT)):
        torch.testing.assert_close(found.column_vectors[t], full[t].T[found.columns[t]])
        torch.testing.assert_close(found.row_vectors[t], full[t][found.rows[t]])
    torch.testing.assert_close(found.squared_norms, full.square().sum((1, 2)))


def test_lengths_in_pieces(tiny: Model) -> None:
    whole = longest(tiny.linearize(PROMPT, dtype=torch.float64), 3, "exact")
    parts = longest(tiny.linearize(PROMPT, dtype=torch.float64, memory=2_000_000), 3, "exact")
    assert torch.equal(whole.columns, parts.columns)
    assert torch.equal(whole.rows, parts.rows)
    torch.testing.assert_close(whole.squared_norms, parts.squared_norms)


def test_probes_find_what_stands_out(tiny: Model) -> None:
    """Lengths of a random network lie close; whatever the probes choose is computed, and close to the longest."""
    linear = tiny.linearize(PROMPT, dtype=torch.float64)
    exact, found = longest(linear, 6, "exact"), longest(linear, 6, "probes")
    assert not found.exact
    full = linear.jacobian().transpose(0, 1)
    for t in range(len(PROMPT)):
        torch.testing.assert_close(found.column_vectors[t], full[t].T[found.columns[t]])
        torch.testing.assert_close(found.row_vectors[t], full[t][found.rows[t]])
    for vectors, best in ((found.column_vectors, exact.column_vectors), (found.row_vectors, exact.row_vectors)):
        assert bool((vectors.norm(dim=-1) > 0.8 * best.norm(dim=-1)).all())
    torch.testing.assert_close(found.squared_norms, exact.squared_norms, rtol=0.2, atol=0)


def test_what_a_row_and_a_column_say(tiny: Model, result: Extremes) -> None:
    linear = tiny.linearize(PROMPT, dtype=torch.float64)
    full = linear.jacobian()
    head = torch.stack([linear.logit_functional(k)[0] for k in range(tiny.family.n_vocab)])
    for t, row in enumerate(result.tokens):
        assert row.norm == pytest.approx(float(full[:, t].norm()))
        column = row.columns[0]
        vector = full[:, t, column.entry]
        assert column.length == pytest.approx(float(vector.norm()))
        assert column.share == pytest.approx(float(vector.norm() ** 2 / full[:, t].norm() ** 2))
        assert column.weight == pytest.approx(float(linear.inputs[t, column.entry]))
        sign = 1 if column.weight >= 0 else -1
        assert column.tokens[0].id == int((head @ (sign * vector)).argmax())
        made = row.rows[0]
        assert made.weight == pytest.approx(float(full[made.entry, t] @ linear.inputs[t]))
        axis = torch.zeros(tiny.family.d, dtype=torch.float64)
        axis[made.entry] = 1 if made.weight >= 0 else -1
        assert made.entry_tokens[0].id == int((head @ axis).argmax())
    # what all rows make of all tokens, and the constant, is the output
    assert [r.tokens for r in result.recurring_rows] == sorted((r.tokens for r in result.recurring_rows), reverse=True)


@pytest.mark.parametrize("width", [50, 80, 104, 140])
def test_the_report_fits(result: Extremes, width: int) -> None:
    shown = printed(result, width)
    assert max(map(len, shown.splitlines())) <= width
    for word in ("Columns", "Rows", "length"):
        assert word in shown


def test_the_command_and_its_round_trip(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "e.safetensors"
    assert run(["extremes", str(tiny_path), "The", "--top", "2", "--method", "probes", "--save", str(saved)]) == 0
    assert "random probes" in " ".join(capsys.readouterr().out.split())
    again = load(saved)
    assert isinstance(again, Extremes)
    assert not again.exact
    assert len(again.tokens[0].columns) == 2
