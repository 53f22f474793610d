"""Ablation of a small model: the map's side by dense algebra, the model's side by plain forward passes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses import ablate as ablation
from ggufjac.analyses.ablate import Ablation, ablate
from ggufjac.analyses.common.account import accounts_of
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.options import LIKELIHOOD, RANKING, AblateOptions
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.families import Family
from ggufjac.families.parts import Run
from ggufjac.maps.model import Model
from ggufjac.network import variants
from ggufjac.network.forward import ForwardPass, propagate, run_of
from ggufjac.network.variants import logits_at
from ggufjac.reports.correlation import spearman
from tinymodels import make

PROMPT, TARGET = IDS[:6], 42


@pytest.fixture(scope="module")
def result(tiny: Model) -> Ablation:
    with torch.no_grad():
        return ablate(tiny, PROMPT, AblateOptions(target=TARGET, components=3, dtype=torch.float64))


def surprise(logits: torch.Tensor) -> float:
    return float(logits.log_softmax(-1)[TARGET])


def test_the_linear_side_is_that_of_the_full_map(tiny: Model, result: Ablation) -> None:
    linear = tiny.linearize(PROMPT, dtype=torch.float64)
    before = surprise(linear.logits)
    head = torch.stack([linear.logit_functional(k)[0] for k in range(tiny.family.n_vocab)])
    offset = linear.logits - head @ linear.output
    for t, row in enumerate(result.tokens):
        without = head @ (linear.output - linear.jacobian()[:, t] @ linear.inputs[t]) + offset
        assert row.linear.change == pytest.approx(surprise(without) - before, abs=1e-9)
        assert row.linear.first.id == int(without.argmax())
        kl = (linear.logits.softmax(-1) * (linear.logits.log_softmax(-1) - without.log_softmax(-1))).sum()
        assert row.linear.kl == pytest.approx(float(kl), abs=1e-9)
    u, s, v, _ = tiny.linearize(PROMPT, dtype=torch.float64).svd(3)
    for row in result.components:
        which = slice(row.first - 1, row.last)
        part = (s[which] * (v[which].flatten(1) @ linear.inputs.flatten())) @ u[which]
        without = head @ (linear.output - part) + offset
        assert row.linear.change == pytest.approx(surprise(without) - before, abs=1e-9)
    assert [(row.first, row.last) for row in result.components] == [(1, 1), (2, 2), (3, 3), (1, 3)]


def test_the_models_side_is_that_of_plain_passes(tiny: Model, result: Ablation) -> None:
    linear = tiny.linearize(PROMPT, dtype=torch.float64)
    before = surprise(linear.logits)
    for t, row in enumerate(result.tokens):
        zeroed = linear.inputs.clone()
        zeroed[t] = 0
        with torch.no_grad():
            ran = propagate(tiny.family, run_of(PROMPT), zeroed).logits[0]
        assert row.zeroed.change == pytest.approx(surprise(ran) - before, abs=1e-9)
        assert row.left_out is not None
        rest = tiny.run([*PROMPT[:t], *PROMPT[t + 1 :]], torch.float64).logits[-1]
        assert row.left_out.change == pytest.approx(surprise(rest) - before, abs=1e-9)
        assert row.left_out.probability == pytest.approx(float(rest.softmax(-1)[TARGET]))
    v = linear.svd(3).V.flatten(1)
    for row in result.components:
        mine = v[row.first - 1 : row.last]
        projected = (linear.inputs.flatten() - mine.T @ (mine @ linear.inputs.flatten())).view_as(linear.inputs)
        with torch.no_grad():
            ran = propagate(tiny.family, run_of(PROMPT), projected).logits[0]
        assert row.projected.change == pytest.approx(surprise(ran) - before, abs=1e-9)


def test_the_slope_is_the_derivative(tiny: Model, result: Ablation) -> None:
    inputs = tiny.embed(PROMPT, torch.float64)
    for t, row in enumerate(result.tokens):
        step = torch.zeros_like(inputs)
        step[t] = inputs[t]
        more, less = logits_at(tiny.family, PROMPT, torch.stack((inputs - 1e-5 * step, inputs + 1e-5 * step)))
        assert row.derivative == pytest.approx((surprise(more) - surprise(less)) / 2e-5, abs=1e-6)


@pytest.mark.parametrize("family", ["qwen3moe", "gemma4", "mamba2", "rwkv7"])
def test_variants_in_one_batch_are_those_alone(family: str, tmp_path: Path) -> None:
    with Model.open(make(family, tmp_path / "tiny.gguf")) as model:
        inputs = model.embed(PROMPT, torch.float64)
        variants = inputs * torch.linspace(0.5, 1.5, 5, dtype=torch.float64)[:, None, None]
        together = logits_at(model.family, PROMPT, variants)
        tight = logits_at(model.family, PROMPT, variants, memory=1)
        torch.testing.assert_close(tight, together)
        torch.testing.assert_close(together[2], model.run(PROMPT, torch.float64).logits[-1])


RESUMING = ("llama", "gemma3n", "deepseek2", "gpt-oss", "bloom")


@pytest.mark.parametrize(
    ("family", "rows"), [*((family, 8) for family in (*RESUMING, "falcon-h1", "rwkv7")), ("llama", 1), ("llama", 512)]
)
def test_tokens_taken_away_side_by_side_are_as_if_run_alone(
    family: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they go on from kept keys and values, in families that can."""
    monkeypatch.setattr(variants, "BRANCHED", rows)
    positions = (4, 0, 5, 2)
    with Model.open(make(family, tmp_path / "tiny.gguf")) as model, torch.no_grad():
        inputs = model.embed(PROMPT, torch.float64)
        whole = variants.WholePrompt(model.family, torch.tensor(PROMPT), inputs)
        zeroed, left_out = whole.zeroed(positions)[:, 0], whole.left_out(positions)[:, 0]
        for i, t in enumerate(positions):
            changed = inputs.clone()
            changed[t] = 0
            torch.testing.assert_close(zeroed[i], logits_at(model.family, PROMPT, changed[None])[0])
            rest = model.run([*PROMPT[:t], *PROMPT[t + 1 :]], torch.float64).logits[-1]
            torch.testing.assert_close(left_out[i], rest, rtol=1e-11, atol=1e-12)
    assert model.family.resumes == (family in RESUMING)


@pytest.mark.parametrize("positions", [(0,), (1,), (1, 0)])
def test_of_two_tokens_either_can_be_left_out(tiny: Model, positions: tuple[int, ...]) -> None:
    inputs = tiny.embed(PROMPT[:2], torch.float64)
    found = variants.WholePrompt(tiny.family, torch.tensor(PROMPT[:2]), inputs).left_out(positions)[:, 0]
    for row, t in zip(found, positions, strict=True):
        torch.testing.assert_close(row, tiny.run([PROMPT[1 - t]], torch.float64).logits[-1])


def test_what_is_shared_is_run_once(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[int] = []

    def counted(family: Family, how: Run, x: torch.Tensor, **options: Any) -> ForwardPass:
        run.append(x.shape[:-1].numel())
        return propagate(family, how, x, **options)

    monkeypatch.setattr(variants, "propagate", counted)
    monkeypatch.setattr(variants, "BRANCHED", 1)
    whole = variants.WholePrompt(tiny.family, torch.tensor(IDS), tiny.embed(IDS, torch.float64))
    whole.zeroed(range(len(IDS)))
    # the prompt up to its last token, then every token's own way on
    assert run == [12, *range(13, 0, -1)]


def test_tokens_are_chosen_by_the_account(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "TOKENS", 4)
    with torch.no_grad():
        found = ablate(tiny, IDS, AblateOptions(components=1, dtype=torch.float64))
        (account,) = accounts_of(Subject(tiny, IDS, AblateOptions(dtype=torch.float64)), above=(RANKING,))
    assert found.account == account
    assert account.rules == LIKELIHOOD
    largest = sorted(range(len(IDS)), key=lambda t: -abs(account.terms[t]))[:4]
    assert [row.position for row in found.tokens] == sorted(largest)
    by_map = found.arrays["terms"].abs().topk(4).indices.tolist()
    assert sorted(by_map) != sorted(largest), "this prompt does not tell the two apart"
    assert "9 of 13 tokens were not tried (--tokens" in printed(found, 120)


def test_every_prediction_is_held_against_the_runs(tiny: Model, result: Ablation) -> None:
    shown = printed(result, 140)
    for name, ran in (("zeroed", "zeroed"), ("left out", "left_out")):
        line = next(
            line for line in shown.splitlines() if line.startswith(f"Spearman's rank correlation with {name} is")
        )
        changes = [getattr(row, ran).change for row in result.tokens]
        expected = {
            LIKELIHOOD: [-result.account.terms[row.position] for row in result.tokens],
            "linear": [row.linear.change for row in result.tokens],
            "slope": [row.derivative for row in result.tokens],
        }
        for by, values in expected.items():
            assert f"{spearman(values, changes):+.2f} for {by}" in line
    assert "not tried" not in shown
    with torch.no_grad():
        half = ablate(tiny, PROMPT, AblateOptions(target=TARGET, components=1, rules="half", dtype=torch.float64))
    assert half.account == result.account
    assert half.tokens[0].linear.change != pytest.approx(result.tokens[0].linear.change, rel=1e-3)
    assert half.tokens[0].zeroed.change == pytest.approx(result.tokens[0].zeroed.change, rel=1e-9)


def test_rank_correlation_with_ties_and_gaps() -> None:
    assert spearman([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, math.nan]) == pytest.approx(-1)
    assert spearman([1, 1, 2, 3], [5, 6, 7, 8]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_positions_and_targets_that_do_not_exist(tiny: Model) -> None:
    with pytest.raises(UserError, match="no token at position 9"):
        ablate(tiny, PROMPT, AblateOptions(tokens=(0, 9)))
    with pytest.raises(UserError, match="no token 99999"):
        ablate(tiny, PROMPT, AblateOptions(target=99999))


def test_one_token_cannot_be_left_out(tiny: Model) -> None:
    with torch.no_grad():
        only = ablate(tiny, [5], AblateOptions(components=1))
    assert only.tokens[0].left_out is None
    assert [(row.first, row.last) for row in only.components] == [(1, 1)]


@pytest.mark.parametrize("width", [50, 80, 104])
def test_the_report_fits(result: Ablation, width: int) -> None:
    shown = printed(result, width)
    assert max(map(len, shown.splitlines())) <= width
    for word in ("linear", "zeroed", "projected", "1–3"):
        assert word in shown


def test_the_command_and_its_round_trip(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "a.safetensors"
    assert run(["ablate", str(tiny_path), "The bridge", "--tokens", "0,1", "--save", str(saved)]) == 0
    printed = capsys.readouterr().out
    assert "2 of" in printed or "each" in printed
    again = load(saved)
    assert isinstance(again, Ablation)
    assert [row.position for row in again.tokens] == [0, 1]
    assert run(["ablate", str(tiny_path), "The bridge", "--tokens", "0,x"]) == 2
    assert "no list of positions" in capsys.readouterr().err
