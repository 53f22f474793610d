"""Linearisation rules: their names, and what they make of a network that is written down once more in plain torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conftest import IDS
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.network.forward import propagate, run_of
from ggufjac.operators import attend
from ggufjac.rules import PRESETS, Rules, choices, rules_called
from judge import pulled_back
from tinymodels import make

PROMPT = IDS[:5]
#: What the presets do not show apart from each other.
MIXED = (
    "norm=tangent",
    "activation=tangent",
    "product=tangent",
    "coefficients=tangent",
    "lrp,norm=tangent",
    "attention=tangent,product=gate",
)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- names ----------------------------------------------------------------------------------------------------


@given(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in choices().items()}))
@settings(max_examples=100)
def test_every_record_has_a_name_that_means_it(chosen: dict[str, str]) -> None:
    rules = Rules(**chosen)  # type: ignore[arg-type]
    assert rules_called(str(rules)) == rules
    assert rules.reconstructs == (
        (rules.norm, rules.activation, rules.attention, rules.coefficients) == ("frozen", "ratio", "values", "frozen")
        and rules.product != "tangent"
    )


def test_presets_are_called_by_their_names() -> None:
    for name, rules in PRESETS.items():
        assert str(rules) == name
    assert rules_called("lrp, norm=tangent") == Rules(product="half", attention="lrp", norm="tangent")
    assert MapOptions(path="gate").linearisation == PRESETS["gate"]
    assert MapOptions(path="up").linearisation == PRESETS["detached"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lpr", "did you mean 'lrp'? there are detached, gate, half, lrp, lrp-qk, rlens, ordinary"),
        ("atention=lrp", "did you mean 'attention'?"),
        ("attention=lpr", "attention can be values, lrp, tangent"),
        ("half,lrp", "'lrp'"),
        ("", "there are detached"),
    ],
)
def test_a_rule_that_is_not_there_is_one_line(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        MapOptions(rules=name)
    assert said in str(caught.value).replace("); ", "? ").replace("??", "?")
    assert "\n" not in str(caught.value)


def test_derivatives_do_not_go_with_rounding(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attribute", str(tiny_path), "x", "--rules", "lrp", "--run", "llama.cpp"]) == 2
    assert "exact arithmetic alone" in capsys.readouterr().err
    assert run(["ordinary", str(tiny_path), "x", "--rules", "lrp"]) == 2
    assert "detached, gate or half" in capsys.readouterr().err


# --- what they mean -------------------------------------------------------------------------------------------


def scaled(x: Tensor, amount: float) -> Tensor:
    """x, of whose derivative so much is taken."""
    return amount * x + (1 - amount) * x.detach()


def rms(x: Tensor, weight: Tensor, eps: float, rules: Rules) -> Tensor:
    length = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
    return x * (length.detach() if rules.norm == "frozen" else length) * weight


def turned(x: Tensor, base: float) -> Tensor:
    """Neighbouring entries of the heads x [T, n_head, d] as complex numbers, turned by their position's angles."""
    n_tokens, _, d = x.shape
    angles = torch.arange(n_tokens)[:, None] * base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(-2)


def llama(path: Path, x: Tensor, rules: Rules) -> Tensor:
    """The final state [d] of a Llama from its embeddings [T, d], with each rule as a detachment in the equations."""
    file = GGUFReader(path)
    weights = {tensor.name: torch.from_numpy(np.array(tensor.data)).double() for tensor in file.tensors}

    def key(name: str) -> Any:
        return file.fields["llama." + name].contents()

    def weight(name: str) -> Tensor:
        return weights[name + ".weight"]

    eps, base = key("attention.layer_norm_rms_epsilon"), key("rope.freq_base")
    n_head, n_kv = key("attention.head_count"), key("attention.head_count_kv")
    for i in range(key("block_count")):
        b = f"blk.{i}."
        n = rms(x, weight(b + "attn_norm"), eps, rules)
        q, k, v = (n @ weight(f"{b}attn_{kind}").T for kind in "qkv")
        q, k = turned(q.unflatten(-1, (n_head, -1)), base), turned(k.unflatten(-1, (n_kv, -1)), base)
        k, v = (t.repeat_interleave(n_head // n_kv, 1) for t in (k, v.unflatten(-1, (n_kv, -1))))
        if rules.attention == "lrp":
            q, k, v = (scaled(t, 0.5) for t in (q, k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
        future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        p = scores.masked_fill(future, -torch.inf).softmax(-1)
        p = {"values": p.detach(), "lrp": scaled(p, 0.5), "tangent": p}[rules.attention]
        x = x + torch.einsum("hqk,khd->qhd", p, v).flatten(-2) @ weight(b + "attn_output").T
        n = rms(x, weight(b + "ffn_norm"), eps, rules)
        u, up = n @ weight(b + "ffn_gate").T, n @ weight(b + "ffn_up").T
        sigmoid = u.sigmoid()
        gate = u * (sigmoid.detach() if rules.activation == "ratio" else sigmoid)
        by_up, by_gate = {"up": (1, 0), "gate": (0, 1), "half": (0.5, 0.5), "tangent": (1, 1)}[rules.product]
        x = x + (scaled(gate, by_gate) * scaled(up, by_up)) @ weight(b + "ffn_down").T
    return rms(x, weight("output_norm"), eps, rules)[-1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = make("llama", tmp_path_factory.mktemp("rules") / "llama.gguf", keys={"rope.freq_base": 100.0})
    with Model.open(path) as model:
        yield model


@pytest.mark.parametrize("name", [*PRESETS, *MIXED])
def test_a_llama_written_down_once_more_has_the_same_terms(plain: Model, name: str) -> None:
    map_, y = plain.linearize(PROMPT, dtype=torch.float64, rules=name), normal(1, 3, plain.family.d)
    x = map_.inputs.clone().requires_grad_()
    output = llama(plain.file.path, x, rules_called(name))
    torch.testing.assert_close(output.detach(), map_.output, rtol=1e-11, atol=1e-11)
    for column in y:
        (gradient,) = torch.autograd.grad(output, x, column, retain_graph=True)
        terms = (gradient * map_.inputs).sum(-1)
        torch.testing.assert_close(map_.attribute(column[None])[0, :-1], terms, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("family", ["gemma2", "gpt-oss", "deepseek2", "gemma3n", "llama4", "qwen3next", "rwkv7"])
def test_mixed_rules_are_autograds(family: str, tmp_path: Path) -> None:
    with Model.open(make(family, tmp_path / "tiny.gguf")) as model:
        y = normal(2, 2, model.family.d)
        for name in MIXED:
            map_ = model.linearize(PROMPT, dtype=torch.float64, rules=name)
            expected = pulled_back(model.family, PROMPT, map_.inputs, y, rules_called(name))
            assert (map_.rmatmat(y) - expected).abs().max() < 1e-10 * expected.abs().max(), name


# --- how they are computed ------------------------------------------------------------------------------------


def test_what_is_missed_is_said(tiny: Model) -> None:
    lrp = tiny.linearize(PROMPT, dtype=torch.float64, rules="lrp")
    dense = torch.einsum("dtn,tn->d", lrp.jacobian(), lrp.inputs) + lrp.constant
    missed = float((dense - lrp.output).norm() / lrp.output.norm())
    assert lrp.reconstruction_error() == pytest.approx(missed)
    assert missed > 0.05


def test_a_tight_budget_changes_nothing(tiny: Model) -> None:
    whole = tiny.linearize(PROMPT, dtype=torch.float64, rules="ordinary")
    tight = tiny.linearize(PROMPT, dtype=torch.float64, rules="ordinary", memory=200_000)
    y = normal(3, 4, tiny.family.d)
    torch.testing.assert_close(tight.rmatmat(y), whole.rmatmat(y), rtol=1e-12, atol=1e-13)


def test_heads_can_go_one_at_a_time(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = normal(3, 4, tiny.family.d), normal(4, 4, len(PROMPT), tiny.family.d)
    maps = {name: tiny.linearize(PROMPT, dtype=torch.float64, rules=name) for name in ("lrp", "ordinary")}
    together = [(map_.rmatmat(y), map_.matmat(x)) for map_ in maps.values()]
    monkeypatch.setattr(attend, "SCORES", 1)
    for (back, forth), map_ in zip(together, maps.values(), strict=True):
        torch.testing.assert_close(map_.rmatmat(y), back, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(map_.matmat(x), forth, rtol=1e-12, atol=1e-13)


def test_columns_of_bfloat16_are_near(tiny: Model) -> None:
    y = normal(4, 3, tiny.family.d).float()
    for name in ("lrp", "ordinary"):
        exact, quick = (tiny.linearize(PROMPT, dtype=kind, rules=name).rmatmat(y) for kind in ("float32", "bfloat16"))
        assert (quick - exact).norm() < 0.05 * exact.norm()


def test_the_probability_of_a_token_has_a_derivative(tiny: Model) -> None:
    map_ = tiny.linearize(PROMPT, dtype=torch.float64, rules="ordinary")
    token, step = 42, 1e-6
    moved = normal(5, *map_.inputs.shape)
    with torch.no_grad():
        ahead, behind = (
            propagate(tiny.family, run_of(PROMPT), map_.inputs + sign * step * moved).logits[0] for sign in (1, -1)
        )
    expected = float((ahead.log_softmax(-1) - behind.log_softmax(-1))[token]) / (2 * step)
    assert float((map_.rmatmat(map_.surprise(token)[None])[0] * moved).sum()) == pytest.approx(expected, rel=1e-5)
