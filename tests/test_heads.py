"""Terms of attention's heads: they add up to attention's row, and are what dense matrices say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import IDS, printed
from ggufjac.analyses.attribute import Attribution, attribute
from ggufjac.analyses.options import HEADS, AttributeOptions
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.families.parts.attention import Attention
from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.run import Part, Run
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.maps.within.heads import MixedHeads, mixed_heads
from ggufjac.maps.within.headways import head_origins, head_vectors
from ggufjac.maps.within.paths import last_writes
from ggufjac.network.forward import run_of
from ggufjac.quants.memory.budget import Budget
from ggufjac.reports.plots.heads import pictures
from tinymodels import make

PROMPT = IDS[:9]
#: What attention comes in: the family, its form, and whether everything that its writes hold is in heads.
FORMS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "grouped": ("llama", {}, True),
    "biases": ("llama", {"attention_bias": True}, False),
    "norms behind": ("gemma3", {}, True),
    "norms of queries": ("qwen3", {}, True),
    "one matrix": ("phi3", {}, True),
    "learned positions": ("gpt2", {}, False),
    "linear biases": ("bloom", {}, False),
    "side by side": ("gptneox", {}, False),
    "latent": ("deepseek2", {}, True),
    "sinks": ("gpt-oss", {}, False),
    "gated": ("afmoe", {}, True),
    "gated, with delta nets": ("qwen3next", {}, True),
    "uneven": ("openelm", {}, True),
    "shared values": ("gemma4", {"n_layer": 8, "n_input": 256, "shared": 3, "double": True}, True),
    "blocks": ("deepseek4", {}, True),
    "beside a state": ("falcon-h1", {}, True),
    "states": ("mamba2", {}, True),
    "lanes of values": ("rwkv7", {}, False),
}


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def linear(form: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DetachedMap]:
    family, shape, _ = FORMS[form]
    with Model.open(make(family, tmp_path_factory.mktemp("heads") / "tiny.gguf", **shape)) as model, torch.no_grad():
        yield model.linearize(PROMPT, dtype=torch.float64)


@pytest.fixture(scope="module")
def functional(linear: DetachedMap) -> Tensor:
    return linear.logit_functional(int(linear.logits.argmax()))[0]


@pytest.fixture(scope="module")
def mixed(linear: DetachedMap, functional: Tensor) -> tuple[MixedHeads, ...]:
    return mixed_heads(linear, functional)


def test_heads_add_up_to_what_last_writes_say(
    form: str, linear: DetachedMap, functional: Tensor, mixed: tuple[MixedHeads, ...]
) -> None:
    writes = last_writes(linear, functional)
    rows = dict(zip(writes.names, (writes.terms.sum(1) + writes.constants)[1:].tolist(), strict=True))
    for name in {(each.layer, each.part) for each in mixed}:
        own = [each for each in mixed if (each.layer, each.part) == name]
        size = sum(float(each.terms.abs().sum()) + abs(each.rest) for each in own)
        assert size > 1e-6
        assert sum(float(each.terms.sum()) + each.rest for each in own) == pytest.approx(rows[name], abs=1e-9 * size)
        # what is not in heads is there where the output has biases or other branches, and nowhere else
        assert (sum(abs(each.rest) for each in own) < 1e-12 * size) == FORMS[form][2]
    # heads are counted on within a layer
    for layer in {each.layer for each in mixed}:
        own = [each for each in mixed if each.layer == layer]
        assert [each.first for each in own] == [sum(len(e.terms) for e in own[:i]) for i in range(len(own))]


def test_vectors_and_origins_have_the_same_terms(
    linear: DetachedMap, functional: Tensor, mixed: tuple[MixedHeads, ...]
) -> None:
    chosen = [(i, h) for i, each in enumerate(mixed) for h in range(len(each.terms))][::-1]
    totals = torch.stack([mixed[i].terms[h].sum() for i, h in chosen])
    size = float(totals.abs().max())
    vectors, origins = head_vectors(linear, mixed, chosen, [3] * len(chosen)), head_origins(linear, mixed, chosen)
    torch.testing.assert_close(vectors.writes @ functional, totals, rtol=0, atol=1e-10 * size)
    torch.testing.assert_close(origins.sum(1), totals, rtol=0, atol=1e-10 * size)
    # three columns in flight at most
    tight = DetachedMap(linear.tokens, linear.forward_pass, Budget(2 * 3 * 2 * linear.inputs.numel() * 8))
    torch.testing.assert_close(head_origins(tight, mixed, chosen), origins)
    again = head_vectors(tight, mixed, chosen, [3] * len(chosen))
    torch.testing.assert_close(again.writes, vectors.writes)
    assert all(torch.equal(a, b) for a, b in zip(again.reads, vectors.reads, strict=True))


def parts(part: Part) -> Iterator[Part]:
    yield part
    for child in part.children:
        yield from parts(child)


def test_terms_are_those_of_dense_matrices(tiny: Model) -> None:
    with torch.no_grad():
        linear = tiny.linearize(PROMPT, dtype=torch.float64)
        w = linear.logit_functional(42)[0]
        found = mixed_heads(linear, w)
        eps = tiny.family.source.number("attention.layer_norm_rms_epsilon")
        # the output norm is frozen at the state that it normalises
        scale = tiny.family.source.vector("output_norm.weight", tiny.family.d).double()
        scale = scale * torch.rsqrt(linear.forward_pass.states[-1][0].square().mean() + eps)
        chosen = [(i, h) for i, each in enumerate(found) for h in range(len(each.terms))]
        vectors = head_vectors(linear, found, chosen, [2] * len(chosen))
        for layer, each in enumerate(found):
            (attention,) = (part for part in parts(tiny.family.layers[layer]) if isinstance(part, Attention))
            assert isinstance(attention.v, Linear)
            assert isinstance(attention.out, Linear)
            x = linear.forward_pass.states[layer]
            norm = tiny.family.source.vector(f"blk.{layer}.attn_norm.weight", tiny.family.d).double()
            norm = norm * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
            n_head, n_kv = attention.n_head, attention.n_head_kv
            assert n_head > n_kv > 1
            p = attention.probabilities(run_of(PROMPT), x * norm)[:, -1]
            w_v, w_o = (part.weight.dequantize(torch.float64) for part in (attention.v, attention.out))
            assert attention.v.bias is not None
            assert attention.out.bias is not None
            v = ((x * norm) @ w_v.T + attention.v.bias.double()).unflatten(-1, (n_kv, -1))
            out = w_o.unflatten(1, (n_head, -1))  # [d, n_head, d_head]
            for h in range(n_head):
                own = h // (n_head // n_kv)
                terms = (p[h, :, None] * v[:, own]) @ out[:, h].T @ (scale * w)
                torch.testing.assert_close(each.terms[h, :-1], terms, rtol=1e-10, atol=1e-12)
                at = layer * n_head + h
                torch.testing.assert_close(vectors.writes[at], scale * (out[:, h] @ (p[h] @ v[:, own])))
                read = norm[2] * ((scale * w) @ out[:, h] @ w_v.unflatten(0, (n_kv, -1))[own])
                torch.testing.assert_close(vectors.reads[at], read)
            torch.testing.assert_close(each.weights, p)
            assert each.rest == pytest.approx(float(attention.out.bias.double() @ (scale * w)), rel=1e-9)


@pytest.fixture(scope="module")
def result(tiny: Model) -> Attribution:
    with torch.no_grad():
        return attribute(tiny, PROMPT, AttributeOptions(heads=3))


def test_float32_adds_up_to_five_digits(result: Attribution) -> None:
    assert result.rules == "half"
    rows = {(write.layer, write.part): write.total for write in result.writes}
    for layer in result.layer_heads:
        size = sum(map(abs, layer.totals)) + abs(layer.rest)
        assert layer.total == pytest.approx(rows[layer.layer, layer.part], abs=1e-5 * size)
    for head in result.heads:
        size = sum(map(abs, head.tokens))
        assert sum(head.tokens) + head.elsewhere == pytest.approx(head.total, abs=1e-5 * size)
        assert sum(head.begins) + head.constant == pytest.approx(head.total, abs=1e-5 * size)
        assert head.total == result.layer_heads[head.layer].totals[head.head]
        assert head.shares
        assert sum(head.weights) == pytest.approx(1, abs=1e-5)
        assert max(map(abs, head.tokens)) == abs(head.tokens[head.position])
    sizes = sorted((abs(total) for layer in result.layer_heads for total in layer.totals), reverse=True)
    assert [abs(head.total) for head in result.heads] == sizes[:3]
    assert result.arrays["heads"].shape == (2, 4, len(PROMPT) + 1)
    assert result.arrays["attention"].shape == (2, 4, len(PROMPT))


def test_the_report_tells_of_heads_where_they_are_asked_for(tiny: Model, result: Attribution) -> None:
    shown = printed(result, 140)
    for head in result.heads:
        assert f" {head.layer}.{head.head} " in shown
    assert "the 5 other heads" in shown
    assert "beside and behind heads" in shown
    assert "\nAttention " in shown
    assert "reads at" in shown
    assert [picture.name for picture in pictures(result)] == ["heads", "attention"]
    plain = attribute(tiny, PROMPT, AttributeOptions(fast=True))
    assert plain.heads == ()
    assert "heads" not in plain.arrays
    assert "\nHeads " not in printed(plain, 140)


def test_all_heads_and_a_quick_look(tiny: Model, tmp_path: Path) -> None:
    found = attribute(tiny, PROMPT, AttributeOptions(heads=1000, fast=True))
    assert len(found.heads) == 8
    assert found.writes == ()
    assert "other heads" not in printed(found, 100)
    found.save(tmp_path / "heads.safetensors")
    assert load(tmp_path / "heads.safetensors") == found


def test_rules_that_have_no_such_terms(tiny: Model) -> None:
    # what is usual for a likelihood has live probabilities; with heads, the nearest rules that hold them
    assert AttributeOptions(above="chance").rules == "lrp-qk"
    assert AttributeOptions(above="chance", heads=2).rules == "half"
    assert AttributeOptions(path="gate", heads=2).linearisation.reconstructs
    for rules in ("lrp", "ordinary", "norm=tangent"):
        with pytest.raises(UserError, match=r"heads: .*use rules (half|detached), or name none"):
            AttributeOptions(rules=rules, heads=1)
    with pytest.raises(UserError, match="no number of heads"):
        AttributeOptions(heads=-1)


def test_terms_are_the_same_by_all_rules_that_reconstruct(tiny: Model) -> None:
    by_rules = [
        attribute(tiny, PROMPT, AttributeOptions(heads=8, fast=True, dtype="float64", rules=rules)).heads
        for rules in ("detached", "gate")
    ]
    for one, other in zip(*by_rules, strict=True):
        assert (one.layer, one.head, one.writes) == (other.layer, other.head, other.writes)
        assert one.tokens == pytest.approx(other.tokens, abs=1e-12)
        # but the paths to there are others
        begins = zip((*one.begins, one.constant), (*other.begins, other.constant), strict=True)
        assert one.layer == 0 or max(abs(a - b) for a, b in begins) > 1e-6


def test_layers_without_heads(tmp_path: Path) -> None:
    none = make("mamba", tmp_path / "mamba.gguf")
    with Model.open(none) as model, pytest.raises(UserError, match="no layer of this model has heads"):
        attribute(model, PROMPT, AttributeOptions(heads=2, fast=True))
    with Model.open(make("jamba", tmp_path / "jamba.gguf")) as model:
        found = attribute(model, PROMPT, AttributeOptions(heads=2, fast=True))
    assert found.headless
    assert {head.layer for head in found.heads}.isdisjoint(found.headless)
    assert "without heads, whose writes are not divided" in " ".join(printed(found, 140).split())
    with Model.open(make("rwkv7", tmp_path / "rwkv.gguf")) as model:
        found = attribute(model, PROMPT, AttributeOptions(heads=20, fast=True))
    assert any(not head.shares for head in found.heads)  # a recurrence has no probabilities
    assert "×: what a recurrence multiplies" in printed(found, 140)


def test_the_heads_of_llamacpps_own_run(tiny: Model) -> None:
    found = attribute(tiny, PROMPT, AttributeOptions(heads=2, run="llama.cpp"))
    rows = {(write.layer, write.part): write.total for write in found.writes}
    for layer in found.layer_heads:
        size = sum(map(abs, layer.totals)) + abs(layer.rest)
        assert layer.total == pytest.approx(rows[layer.layer, layer.part], abs=1e-4 * size)


def test_the_command(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["attribute", str(tiny_path), "the bridge", "--fast"]
    assert run([*asked, "--heads"]) == 0
    assert AttributeOptions(heads=HEADS).heads > 8  # which are all of them
    assert "other heads" not in capsys.readouterr().out
    assert run([*asked, "--heads", "2"]) == 0
    assert "the 6 other heads" in capsys.readouterr().out
    assert run(["attribute", str(tiny_path), "--heads", "the bridge"]) == 2
    assert "a prompt stands before --heads" in capsys.readouterr().err


def test_the_head_that_carries_france(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head of the page about it, and what the model says where that one reads nothing."""
    with Model.open(smollm2_path) as model, torch.no_grad():
        text = "The capital of France is"
        found = attribute(model, text, AttributeOptions(heads=2, fast=True))
        first, second = found.heads
        assert (first.layer, first.head) == (23, 4)
        assert first.total > 2 * second.total
        assert found.tokens[first.position].token.text == " France"
        assert first.weights[first.position] > 0.8
        assert first.writes[0].text == " France"
        before = model.linearize(text).logits.softmax(-1)
        probabilities = Attention.probabilities

        def silenced(self: Attention, run: Run, x: Tensor) -> Tensor:
            p = probabilities(self, run, x)
            if run.layer == first.layer:
                p[first.head, -1] = 0
            return p

        monkeypatch.setattr(Attention, "probabilities", silenced)
        after = model.linearize(text).logits.softmax(-1)
    paris = int(before.argmax())
    assert before[paris] > 0.7
    assert after[paris] < 0.3
