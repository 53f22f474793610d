"""The benchmark of faithfulness: its arithmetic on numbers by hand, its curves and accounts on a small model."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.faithfulness import prompts
from benchmarks.faithfulness.accounts import accounts
from benchmarks.faithfulness.case import Case
from benchmarks.faithfulness.measure import Score, measure
from benchmarks.faithfulness.metric import area, deleted, order, points, share, spearman
from benchmarks.faithfulness.others import gradients, rollout
from benchmarks.faithfulness.quantities import CHANCE, LOG_P, NAMES, Quantities
from benchmarks.faithfulness.summary import Summary, error, share_error
from conftest import IDS
from ggufjac.maps.model import Model
from ggufjac.network.forward import propagate, run_of


def test_order_and_points_of_a_curve() -> None:
    assert order([0.5, 3.0, -1.0, 3.0]) == [1, 3, 0, 2]
    assert points(3) == [1, 2, 3]
    assert len(points(40)) == 6
    assert points(40)[-1] == 40
    assert list(deleted([1, 2, 0])) == [{1}, {1, 2}, {0, 1, 2}]


def test_area_is_the_mean_distance_of_the_curves() -> None:
    assert area([-4.0, -5.0, -6.0], [-1.0, -2.0, -6.0]) == 2.0
    assert area([-1.0, -2.0, -6.0], [-4.0, -5.0, -6.0]) == -2.0


def test_ranks_and_shares() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)
    assert spearman([1, 1, 1], [3, 2, 1]) == 0.0
    assert share([-3.0, 1.0]) == 0.75
    assert share([0.0, 0.0]) == 0.0


def test_standard_errors() -> None:
    assert error([1.0, 3.0]) == 1.0
    assert error([2.0]) == 0.0
    assert share_error([1.0, 2.0], [2.0, 4.0]) == 0.0
    assert share_error([1.0, 3.0], [2.0, 2.0]) == pytest.approx(0.5)


def score(account: str, prompt: int, area: float) -> Score:
    return Score(prompt, "facts", 5, account, LOG_P, "1 sweep", area, 0.5, area, 0.5, 0.1, 1.0)


def test_accounts_are_held_against_zeroing_on_their_own_prompts() -> None:
    scores = [score("zeroing each token", i, area) for i, area in enumerate([2.0, 4.0, 8.0])]
    scores += [score("lrp", 0, 1.0), score("lrp", 1, 2.0), score("lrp", 1, 100.0)]
    row = next(row for row in Summary(scores).main().rows if row[0] == "lrp")
    assert row[2:5] == ["1.50 ± 0.50", "50% ± 0%", "2"]


def test_quantities_are_what_their_names_say() -> None:
    logits = torch.tensor([1.0, 4.0, 3.0, 0.0, *[-1.0] * 60])
    found = Quantities.at(logits)
    assert found.target == 1
    values = dict(zip(NAMES, found.of(logits[None])[0].tolist(), strict=True))
    assert values["logit"] == 4.0
    assert values["centred"] == pytest.approx(4 - float(logits.mean()))
    assert values[LOG_P] == pytest.approx(float(logits.log_softmax(0)[1]))
    assert values["over the runner-up"] == 1.0
    assert values["over the likeliest 4"] == pytest.approx(4 - (3 + 1 + 0 - 1) / 4)
    point = logits.clone().requires_grad_()
    for name, weights in zip(NAMES, found.weights, strict=True):
        (gradient,) = torch.autograd.grad(found.of(point[None])[0, NAMES.index(name)], point)
        assert torch.allclose(gradient, weights, atol=1e-6) == (name != CHANCE)


def test_the_secant_adds_up_to_ln_p_above_that_of_equal_logits() -> None:
    logits = 8 * torch.randn(500, generator=torch.Generator().manual_seed(0))
    found = Quantities.at(logits)
    gained = float(found.weights[NAMES.index(CHANCE)] @ logits)
    assert gained == pytest.approx(float(logits.log_softmax(0)[found.target]) + math.log(500), rel=1e-4)


def test_every_prompt_is_read_and_the_first_ones_are_of_all_kinds() -> None:
    everything = prompts.read()
    assert sorted(everything) == list(range(len(everything)))
    assert len(everything) >= 60
    assert all(p.written("llama") for p in everything.values())
    kinds = [p.kind for p in everything.values()]
    assert set(kinds[:20]) == set(kinds)
    chat = next(p for p in everything.values() if p.system)
    assert chat.written("llama").startswith(f"<|im_start|>system\n{chat.system}<|im_end|>\n<|im_start|>user\n")
    assert chat.written("gemma3").endswith("<end_of_turn>\n<start_of_turn>model\n")


@pytest.fixture
def case(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setattr(tiny, "ids_of", list)
    with torch.no_grad():
        yield Case(tiny, IDS[:6])  # type: ignore[arg-type]


def test_zeroed_sets_are_plain_runs(case: Case) -> None:
    gone = frozenset([1, 4])
    x = case.inputs.clone()
    x[[1, 4]] = 0
    logits = propagate(case.model.family, run_of(case.ids), x).logits
    assert torch.allclose(case.deletion.values([gone]).float(), case.quantities.of(logits), atol=1e-4)


def test_integrated_gradients_add_up_to_what_is_integrated(case: Case) -> None:
    # from half of the prompt's vectors: near 0 the norms turn so fast that a sum of a few steps is no integral
    steps = 50
    terms = gradients(case, ["centred", LOG_P], [0.5 + (i + 0.5) / (2 * steps) for i in range(steps)]) / 2
    ends = (propagate(case.model.family, run_of(case.ids), s * case.inputs).logits for s in (1.0, 0.5))
    whole, half = (case.quantities.of(logits)[0] for logits in ends)
    for row, name in zip(terms, ["centred", LOG_P], strict=True):
        assert float(row.sum()) == pytest.approx(float((whole - half)[NAMES.index(name)]), rel=1e-2, abs=1e-2)


def test_gradients_at_the_prompt_are_the_ordinary_map(case: Case) -> None:
    ordinary = next(account for account in accounts(["ordinary"], others=False) if account.name == "ordinary")
    names = [name for name in NAMES if name != CHANCE]
    assert torch.allclose(gradients(case, names, [1.0]), ordinary.terms(case, names), atol=1e-3)


def test_rollout_spreads_one_over_the_tokens(case: Case) -> None:
    spread = rollout(case, [LOG_P])[0]
    assert float(spread.sum()) == pytest.approx(1.0, abs=1e-5)
    assert (spread > 0).all()


def test_a_case_is_measured_and_shown(case: Case) -> None:
    scores = measure(case, accounts(["detached", "lrp + half"]), 0, "facts")
    best = next(s for s in scores if s.account == "zeroing each token" and s.quantity == LOG_P)
    assert best.spearman == best.own_spearman == 1.0
    assert best.area == best.own_area
    text = "\n".join(line for _, table in Summary(scores).tables() for line in table.lines())
    assert "| lrp + half | ln p above chance |" in text
    assert "2 sweeps" in text
