"""Both Jacobians of a small model beside each other, against autograd and dense algebra."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.compare.overlap import concepts, cosines, overlap, shared
from ggufjac.analyses.options import OrdinaryOptions
from ggufjac.analyses.ordinary import Ordinary, ordinary
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.reports.terminal.scatter import scatter

PROMPT, TARGET = IDS[:5], 42


@pytest.fixture(scope="module")
def result(tiny: Model) -> Ordinary:
    with torch.no_grad():
        return ordinary(tiny, PROMPT, OrdinaryOptions(top=4, target=TARGET, dtype=torch.float64))


def test_both_sides_are_those_of_dense_maps(tiny: Model, result: Ordinary) -> None:
    linear = tiny.linearize(PROMPT, dtype=torch.float64)
    derivative = tiny.linearize(PROMPT, dtype=torch.float64, rules="ordinary")
    w, offset = linear.logit_functional(TARGET)
    dense = derivative.rmatmat(torch.eye(tiny.family.d, dtype=torch.float64))
    for side, full, constant in (
        (result.detached, linear.jacobian(), linear.constant),
        (result.ordinary, dense, derivative.constant),
    ):
        made = torch.einsum("dtn,tn->d", full, linear.inputs) + constant
        y = linear.output
        assert side.error == pytest.approx(float((made - y).norm() / y.norm()), abs=1e-9)
        assert side.cosine == pytest.approx(float(made @ y / made.norm() / y.norm()), abs=1e-9)
        assert side.length == pytest.approx(float(made.norm() / y.norm()), abs=1e-9)
        terms = torch.einsum("d,dtn,tn->t", w, full, linear.inputs)
        assert side.terms == pytest.approx(terms.tolist(), abs=1e-9)
        assert side.logit == pytest.approx(float(w @ made) + offset, abs=1e-9)
        values = torch.linalg.svdvals(full.flatten(1))[:4]
        assert [t.sigma for t in side.triplets] == pytest.approx(values.tolist(), rel=1e-5)
        assert side.norms == pytest.approx(full.norm(dim=(0, 2)).tolist(), rel=1e-9 if side.exact else 0.3)
    assert result.detached.error < 1e-13
    assert result.ordinary.error > 0.1
    assert sum(result.detached.terms) + result.constant == pytest.approx(result.target.logit, rel=1e-10)
    left = torch.linalg.svd(linear.jacobian().flatten(1)).U[:, :4].T
    other = torch.linalg.svd(dense.flatten(1)).U[:, :4].T
    assert result.left_overlap == pytest.approx(overlap(left, other), abs=1e-4)


def test_overlaps() -> None:
    basis = torch.eye(6, dtype=torch.float64)
    turned = torch.tensor([[0.6, 0.8, 0], [0, 0, 1]], dtype=torch.float64) @ basis[[0, 3, 1]]
    assert cosines(basis[:2], turned).tolist() == pytest.approx([1.0, 0.6])
    assert overlap(basis[:2], turned) == pytest.approx((1 + 0.36) / 2)
    assert overlap(basis[:2], 5 * basis[:2].flip(0)) == pytest.approx(1)
    assert overlap(basis[:2], basis[4:]) == 0
    one = concepts([(Piece(1, " The"), Piece(2, "cat")), (Piece(3, "  "), Piece(4, "x"))], 2)
    assert one == {"the", "cat", "x"}
    assert shared(one, {"the"}) == pytest.approx(1 / 3)
    assert shared(set(), set()) == 1


def test_a_scatter_plot() -> None:
    assert scatter([0.0], [0.0], 1.0, 1, 1) in (["⠂"], ["⠄"], ["⠐"], ["⠠"])
    lines = scatter([-1, 1, 9, float("nan")], [-1, 1, -9, 0], 1.0, 4, 2)
    assert lines == ["⠀⠀⠀⠈", "⡀⠀⠀⢀"]
    assert scatter([3.0], [3.0], 0.0, 1, 1)


def test_a_wrong_target(tiny: Model) -> None:
    with pytest.raises(UserError, match="no token 99999"):
        ordinary(tiny, PROMPT, OrdinaryOptions(target=99999))


@pytest.mark.parametrize("width", [50, 80, 104, 140])
def test_the_report_fits(result: Ordinary, width: int) -> None:
    shown = printed(result, width)
    assert max(map(len, shown.splitlines())) <= width
    for word in ("detached", "ordinary", "Spectra", "stable rank"):
        assert word in shown


def test_the_command_and_its_round_trip(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "o.safetensors"
    assert run(["ordinary", str(tiny_path), "The", "--top", "2", "--save", str(saved)]) == 0
    printed = capsys.readouterr().out
    again = load(saved)
    assert isinstance(again, Ordinary)
    assert run(["show", str(saved)]) == 0
    assert capsys.readouterr().out == printed
