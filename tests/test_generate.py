"""Texts that go on with what the layers kept of them, against the same texts run as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ggufjac.families.parts import Continued, Past
from ggufjac.maps.model import Model
from ggufjac.network.forward import propagate
from ggufjac.network.texts import Reading, Sampling, embedded, goes_on, logits_of_texts
from tinymodels import BOS, FAMILIES, VOCAB_SIZE, make

#: Two texts side by side, longer than the windows and chunks of the tiny models.
TEXTS = torch.from_numpy(np.random.default_rng(7).integers(3, VOCAB_SIZE, (2, 26)))
TEXTS[:, 0] = BOS
#: Families, or forms of them, with parts that keep something else than keys and values.
RECURRENT = {
    "arwkv7",
    "bailingmoe3",
    "deepseek32",
    "deepseek4",
    "dots3note",
    "falcon-h1",
    "glm-dsa",
    "glm5-next",
    "granitehybrid",
    "hy_v4, indexer",
    "jamba",
    "kimi-k3",
    "kimi-linear",
    "lfm2",
    "lfm2moe",
    "mamba",
    "mamba2",
    "minimax-01",
    "nemotron_h",
    "nemotron_h_moe",
    "plamo2",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "qwen4exp",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
}
CASES = [(family, variant) for family in FAMILIES for variant in ("", *FAMILIES[family].variants)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("family", "variant"), CASES, ids=lambda name: name or "plain")
def test_steps_give_what_whole_texts_give(family: str, variant: str, tmp_path: Path) -> None:
    overrides = FAMILIES[family].variants[variant] if variant else {}
    with Model.open(make(family, tmp_path / "tiny.gguf", **overrides)) as model:
        recurrent = not RECURRENT.isdisjoint((family, f"{family}, {variant}"))
        assert model.family.resumes != recurrent
        single = () if variant or recurrent else ((torch.float32, 1e-5),)
        for dtype, tolerance in ((torch.float64, 1e-12), *single):
            (whole,) = logits_of_texts(model.family, TEXTS, dtype)
            reading = Reading(model.family, TEXTS.shape[1], dtype)
            for start, stop in ((0, 17), (17, 18), (18, 26)):
                step = reading.read(TEXTS[:, start:stop])
                assert apart(step, whole[:, stop - 1]) < tolerance


def test_a_text_that_is_not_kept_is_the_same(tiny: Model) -> None:
    kept, anew = (Reading(tiny.family, 30, torch.float64, cached=cached) for cached in (None, False))
    assert kept.cached
    assert not anew.cached
    for tokens in (TEXTS[:, :9], TEXTS[:, 9:10], TEXTS[:, 10:26]):
        assert apart(kept.read(tokens), anew.read(tokens)) < 1e-12


def test_a_step_computes_one_position(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes the head's product and the layers' is as long as what was read, not as the text."""
    from ggufjac.quants import products

    rows = []
    plain = products.apply

    def counting(weight, x, store=None):  # type: ignore[no-untyped-def]
        rows.append(x.shape[:-1].numel())
        return plain(weight, x, store)

    monkeypatch.setattr(products, "apply", counting)
    reading = Reading(tiny.family, 30)
    reading.read(TEXTS[:1, :9])
    assert max(rows) == 9
    rows.clear()
    reading.read(TEXTS[:1, 9:10])
    assert rows
    assert max(rows) == 1


def test_positions_that_do_not_fit_are_refused(tiny: Model) -> None:
    reading = Reading(tiny.family, 9)
    reading.read(TEXTS[:, :9])
    with pytest.raises(ValueError, match="10 positions do not fit"):
        reading.read(TEXTS[:, 9:10])


def test_a_step_that_was_given_up_leaves_no_trace(tiny: Model) -> None:
    """Keys and values of a pass that failed half-way are written over."""

    class Once:
        due = False

        def edit(self, layer: int, state: torch.Tensor) -> None:
            if layer == 1 and self.due:
                self.due = False
                raise InterruptedError

    past = Past(30)
    positions = torch.arange(9)

    def passes(first: int, stop: int, edit: Once) -> torch.Tensor:
        run = Continued(TEXTS[:, first:stop], torch.arange(first, stop), 256, past=past)
        x = embedded(tiny.family, TEXTS[:, first:stop], torch.float64)
        return propagate(tiny.family, run, x, edit=edit.edit).logits[:, 0]

    with torch.no_grad():
        passes(0, 9, Once())
        past.passed(positions)
        edit = Once()
        edit.due = True
        with pytest.raises(InterruptedError):
            passes(9, 10, edit)
        again = passes(9, 10, edit)
    (whole,) = logits_of_texts(tiny.family, TEXTS[:, :10], torch.float64)
    assert apart(again, whole[:, -1]) < 1e-12


def test_a_passs_operators_map_its_own_vectors(tiny: Model) -> None:
    """What comes from the past is a constant of the map."""
    past = Past(30)
    with torch.no_grad():
        for first, stop in ((0, 9), (9, 12)):
            run = Continued(TEXTS[:, first:stop], torch.arange(first, stop), 256, past=past)
            x = embedded(tiny.family, TEXTS[:, first:stop], torch.float64)
            done = propagate(tiny.family, run, x, last_only=False)
            past.passed(run.positions)
        rebuilt, linear = x, torch.zeros_like(x)
        for op in done.layers:
            rebuilt, linear = op.apply(rebuilt, 1.0), op.apply(linear, 1.0)
        assert apart(rebuilt, done.states[-1]) < 1e-13
        assert linear.norm() > 1e-3 * rebuilt.norm()


# --- how tokens are chosen --------------------------------------------------------------------------------------


def test_the_likeliest_token_and_its_first_one_in_a_tie() -> None:
    choose = Sampling().chooser(2)
    assert choose(torch.tensor([[0.0, 3.0, 3.0], [1.0, 0.0, 0.5]])).tolist() == [1, 0]


def test_drawn_tokens_have_the_models_frequencies() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    choose, n = Sampling(temperature=0.7, seed=3).chooser(1), 4000
    drawn = torch.tensor([int(choose(logits)) for _ in range(n)]).bincount(minlength=4) / n
    p = (logits[0].double() / 0.7).softmax(-1)
    assert ((drawn - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()


def test_top_p_leaves_the_tokens_that_reach_it() -> None:
    p = torch.tensor([0.05, 0.5, 0.3, 0.15], dtype=torch.float64)
    for top_p, left in ((0.1, {1}), (0.49, {1}), (0.51, {1, 2}), (0.79, {1, 2}), (0.9, {1, 2, 3}), (1.0, {0, 1, 2, 3})):
        choose = Sampling(temperature=1.0, top_p=top_p).chooser(1)
        assert {int(choose(p.log()[None])) for _ in range(200)} == left


def text_of(model: Model, n: int, sampling: Sampling) -> list[list[int]]:
    steps = goes_on(Reading(model.family, 20), TEXTS[:1, :6].expand(n, -1), 8, sampling)
    return torch.stack([step.tokens for step in steps], 1).tolist()


def test_a_seed_is_a_text_whatever_is_written_beside_it(tiny: Model) -> None:
    alone = text_of(tiny, 1, Sampling(1.0, 0.9, seed=5))
    assert text_of(tiny, 1, Sampling(1.0, 0.9, seed=5)) == alone
    assert text_of(tiny, 3, Sampling(1.0, 0.9, seed=5)) == alone * 3
    assert text_of(tiny, 1, Sampling(1.0, 0.9, seed=6)) != alone


def test_the_likeliest_text_is_that_of_whole_passes(tiny: Model) -> None:
    ids = TEXTS[0, :6].tolist()
    for token in text_of(tiny, 1, Sampling())[0]:
        assert token == int(tiny.run(ids).logits[-1].argmax())
        ids.append(token)


def test_texts_end_where_their_last_token_says_so(tiny: Model) -> None:
    (text,) = text_of(tiny, 1, Sampling(1.0, seed=5))
    end = text[3]
    steps = list(goes_on(Reading(tiny.family, 20), TEXTS[:1, :6], 8, Sampling(1.0, seed=5), lambda i: i == end))
    assert [int(step.tokens) for step in steps] == text[: text.index(end) + 1]
    assert all(bool(step.alive) for step in steps)
    both = list(goes_on(Reading(tiny.family, 20), TEXTS[:2, :6], 8, Sampling(1.0, seed=5), lambda i: i == end))
    alive = torch.stack([step.alive for step in both], 1)
    assert alive[0].sum() == text.index(end) + 1
    assert (alive.int().diff(dim=1) <= 0).all()
