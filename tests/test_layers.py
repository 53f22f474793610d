"""The maps of single layers and of all layers below, their common sweeps, and the report of an emerging prediction."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import IDS, PATIENCE, printed
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.layers import Emergence, Layers, _emergence, layers
from ggufjac.analyses.options import LayersOptions
from ggufjac.analyses.table import load
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.maps.spectra.joint import JointTriplets, joint_triplets
from ggufjac.maps.within.layers import LayerMaps, LayerPart
from ggufjac.maps.within.paths import last_writes
from ggufjac.network.forward import run_of
from tinymodels import make

PROMPT = IDS[:6]
T = len(PROMPT)
PARTS = ("layer", "attn", "mlp")
#: A dense family with biases, a mixture with biases, and attention beside a recurrence.
TINY = {"llama": {"attention_bias": True, "mlp_bias": True}, "qwen2moe": {}, "falcon-h1": {}}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Model]]:
    """Opens tiny models by family, each only once."""
    folder = tmp_path_factory.mktemp("layers")
    known: dict[str, Model] = {}
    with ExitStack() as stack:

        def open_(family: str, **overrides: object) -> Model:
            name = f"{family} {overrides}"
            if name not in known:
                path = make(family, folder / f"{len(known)}.gguf", **overrides)  # type: ignore[arg-type]
                known[name] = stack.enter_context(Model.open(path))
            return known[name]

        yield open_


def exact(model: Model, ids: list[int] = PROMPT) -> LayerMaps:
    return LayerMaps(model.family, model.linearize(ids, dtype=torch.float64))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- single places ------------------------------------------------------------------------------------------------


def traced(model: Model, place: LayerPart, start: int) -> Callable[[Tensor], Tensor]:
    """The same sub-network from what enters block `start`, its parts told from the values that it announces."""
    layer, part = place

    def output(x: Tensor) -> Tensor:
        middle: dict[str, Tensor] = {}

        def watch(name: str, value: Tensor) -> Tensor:
            middle[name] = value
            return value

        run = run_of(PROMPT, watch=watch, attached=True)
        entering = x
        for i in range(start, layer + 1):
            entering = x
            _, x = model.family.layers[i].build(run.at(i), x)
        between = middle[f"ffn_inp-{layer}"]
        value = {"layer": x, "attn": between - entering, "mlp": x - between}[part]
        return model.family.output_norm.value(run, value[-1:])[0]

    return output


@pytest.mark.parametrize("family", TINY)
def test_maps_of_places_are_autograds(opened: Callable[..., Model], family: str) -> None:
    """Both ways of every place's cumulative and layerwise map against torch, on the graph with frozen coefficients."""
    model = opened(family, n_layer=3, **TINY[family])
    maps = exact(model)
    d = model.family.d
    for place in maps.places((0, 2), PARTS):
        for made, start in ((maps.cumulative(*place), 0), (maps.layerwise(*place), place[0])):
            output = traced(model, place, start)
            point = made.inputs.clone().requires_grad_()
            y = output(point)
            torch.testing.assert_close(made.output, y.detach(), rtol=1e-9, atol=1e-10)
            functionals = draw(2, d, seed=place[0])
            reference = torch.stack([torch.autograd.grad(y, point, f, retain_graph=True)[0] for f in functionals])
            torch.testing.assert_close(made.rmatmat(functionals), reference, rtol=1e-9, atol=1e-11)
            x = draw(2, T, d, seed=place[0])
            torch.testing.assert_close(
                made.matmat(x) @ functionals.T, torch.einsum("nte,mte->nm", x, reference), rtol=1e-9, atol=1e-10
            )
            assert made.reconstruction_error() < 1e-12


def test_the_whole_network_is_the_last_place(tiny: Model) -> None:
    maps = exact(tiny)
    last = maps.cumulative(maps.n_layer - 1)
    assert torch.equal(last.output, maps.linear.output)
    y = draw(3, tiny.family.d)
    torch.testing.assert_close(last.rmatmat(y), maps.linear.rmatmat(y))
    (logits,) = maps.lens_logits(last.output[None])
    torch.testing.assert_close(logits, maps.linear.logits)


def test_places_that_are_not_there(tiny: Model, opened: Callable[..., Model]) -> None:
    maps = exact(tiny)
    assert maps.places([1, 0, 1], ["mlp", "layer"]) == ((0, "mlp"), (0, "layer"), (1, "mlp"), (1, "layer"))
    with pytest.raises(UserError, match="no layer 2; the model has layers 0 to 1"):
        maps.places([0, 2], ["layer"])
    with pytest.raises(UserError, match="has a part 'ssm'; it has attn, mlp, layer"):
        maps.places([0], ["ssm"])
    hybrid = exact(opened("nemotron_h", n_layer=4))
    assert hybrid.places(range(4), ["attn", "mlp"]) == ((1, "attn"), (2, "mlp"))
    with pytest.raises(UserError, match="none of these layers has a part 'attn'"):
        hybrid.places([0], ["attn"])


def test_the_last_position_of_a_last_layer_that_mixes_none(opened: Callable[..., Model]) -> None:
    """The third layer of this model is an MLP alone: nothing in it drops the other positions by itself."""
    model = opened("nemotron_h", n_layer=3)
    maps = exact(model)
    whole = model.run(PROMPT, torch.float64)
    torch.testing.assert_close(maps.linear.output, whole.output[-1])
    torch.testing.assert_close(maps.linear.logits, whole.logits[-1])
    assert maps.linear.reconstruction_error() < 1e-13
    for place in maps.places(range(3), ["layer", "mlp"]):
        assert maps.layerwise(*place).reconstruction_error() < 1e-13


def test_what_the_lens_cannot_read_is_refused(opened: Callable[..., Model]) -> None:
    """Gemma 3n's output norm makes every plane as long as the first one, which the layers' inputs leave alone."""
    maps = exact(opened("gemma3n"))
    assert maps.cumulative(3).reconstruction_error() < 1e-12
    assert maps.cumulative(3, "attn").reconstruction_error() < 1e-12
    with pytest.raises(UserError, match="cannot read what 'input' writes; ask for 'layer'"):
        maps.cumulative(3, "input")


# --- common sweeps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "phi2", "rwkv7", "gemma4"])
def test_common_sweeps_are_those_of_every_place(opened: Callable[..., Model], family: str) -> None:
    """Sequential and parallel blocks, a state that is wider than the stream, factors behind the blocks; at once and
    in pieces."""
    model = opened(family, n_layer=3, **TINY.get(family, {}))
    maps = exact(model)
    places = sorted(maps.places((0, 2), PARTS), key=lambda place: (-place[0], place[1] != "layer"))
    swept = maps.swept(maps.sites(places))
    which, d = [0, 2, 3, 5], model.family.d
    x, y = draw(5, T, d), draw(len(which), 5, d)
    alone = [maps.cumulative(*places[i]) for i in which]
    images, pulled = swept.forward(x, which), swept.backward(y, which)
    torch.testing.assert_close(images, torch.stack([one.matmat(x) for one in alone]), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(
        pulled, torch.stack([one.rmatmat(of_one) for one, of_one in zip(alone, y, strict=True)]), rtol=1e-10, atol=1e-11
    )
    constants = torch.stack([maps.cumulative(*place).constant for place in places])
    torch.testing.assert_close(swept.constants(), constants, rtol=1e-10, atol=1e-11)
    swept.room = 6 * swept.column_bytes
    assert torch.allclose(swept.forward(x, which), images, rtol=1e-11, atol=1e-12)
    assert torch.allclose(swept.backward(y, which), pulled, rtol=1e-11, atol=1e-12)


# --- triplets -----------------------------------------------------------------------------------------------------


def test_spectra_are_those_of_the_dense_maps(tiny: Model) -> None:
    maps = exact(tiny)
    places = maps.places(range(maps.n_layer), PARTS)
    k = 3
    found, shares = maps.spectra(places, k, tolerance=1e-3)
    own = maps.layerwise_spectra(places, k, tolerance=1e-3)
    for i, place in enumerate(places):
        for spectra, linear in ((found, maps.cumulative(*place)), (own, maps.layerwise(*place))):
            dense = linear.jacobian().flatten(1)
            _, s, _ = torch.linalg.svd(dense, full_matrices=False)
            torch.testing.assert_close(spectra.s[i], s[:k], rtol=1e-5, atol=0)
            pulled = spectra.u[i] @ dense
            values = pulled.norm(dim=-1)
            torch.testing.assert_close(values, s[:k], rtol=1e-5, atol=0)
            weights = pulled.unflatten(1, linear.inputs.shape).square().sum(-1) / values.square()[:, None]
            torch.testing.assert_close(spectra.weights[i], weights, rtol=1e-2, atol=1e-3)
            assert float((spectra.u[i] @ linear.output).min()) >= 0
            assert float(spectra.squared_norms[i]) == pytest.approx(float(dense.square().sum()), rel=0.15)
            torch.testing.assert_close(spectra.outputs[i], linear.output)
        y = maps.cumulative(*place).output
        torch.testing.assert_close(
            shares[i], maps.cumulative(*place).attribute((y / (y @ y))[None])[0], rtol=1e-9, atol=1e-11
        )
    assert float(found.residuals.max()) <= 1e-3
    torch.testing.assert_close(shares.sum(-1), torch.ones(len(places), dtype=torch.float64))


def test_residuals_are_true(tiny: Model) -> None:
    """A loose tolerance gives loose triplets, and says how loose."""
    maps = exact(tiny, IDS)
    found, _ = maps.spectra([(1, "layer")], 3, tolerance=0.2)
    dense = maps.cumulative(1).jacobian().flatten(1)
    assert float(found.residuals.max()) <= 0.2
    _, s, _ = torch.linalg.svd(dense, full_matrices=False)
    error = (found.s[0] - s[:3]).abs() / s[:3]
    assert float(error.max()) < 0.2**2
    pulled = found.u[0] @ dense
    # A^T u = s v + r with r orthogonal to v, so |A^T u|^2 - s^2 = |r|^2
    missing = (pulled.square().sum(-1) - found.s[0].square()).clamp_min(0).sqrt() / found.s[0]
    torch.testing.assert_close(found.residuals[0], missing, rtol=1e-2, atol=1e-3)


def test_a_small_budget_takes_the_places_in_groups(opened: Callable[..., Model]) -> None:
    model = opened("llama", n_layer=3, **TINY["llama"])
    column = T * model.family.d * 4
    wide, tight = (LayerMaps(model.family, model.linearize(PROMPT, memory=m)) for m in (None, 150 * column))
    places = wide.places(range(3), PARTS)
    assert len(list(tight._groups(range(len(places)), 2))) > 1
    (few, shares), (many, same) = tight.spectra(places, 2), wide.spectra(places, 2)
    torch.testing.assert_close(few.s, many.s, rtol=1e-3, atol=0)
    torch.testing.assert_close(shares, same, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="does not hold the search for 3 triplets; the smallest is"):
        LayerMaps(model.family, model.linearize(PROMPT, memory=60 * column)).spectra(places, 3)


def jointly(maps: Tensor, k: int, **options: object) -> JointTriplets:
    """The triplets of dense maps [S, d, n]."""
    outputs = (maps @ draw(maps.shape[2], seed=9)[:, None])[..., 0]
    return joint_triplets(
        lambda x, which: x @ maps[list(which)].mT,
        lambda y, which: y @ maps[list(which)],
        outputs,
        maps.shape[2],
        k,
        **options,  # type: ignore[arg-type]
    )


def decaying(d: int, n: int, n_maps: int, rate: float) -> Tensor:
    """Maps with right vectors that turn slowly from one to the next."""
    turn = torch.linalg.matrix_exp(0.05 * (lambda a: a - a.T)(draw(n, n)))
    v = torch.linalg.qr(draw(n, min(d, n), seed=1)).Q
    found = []
    for s in range(n_maps):
        u = torch.linalg.qr(draw(d, min(d, n), seed=2 + s)).Q
        found.append((u * rate ** torch.arange(min(d, n))) @ v.T)
        v = turn @ v
    return torch.stack(found)


@pytest.mark.parametrize(("d", "n"), [(40, 90), (60, 30), (5, 4)])
@pytest.mark.parametrize("rate", [0.9, 0.3])
def test_joint_triplets_are_those_of_the_dense_svd(d: int, n: int, rate: float) -> None:
    maps = decaying(d, n, 5, rate)
    k = min(4, d, n)
    found = jointly(maps, k, tolerance=1e-3)
    torch.testing.assert_close(found.s, torch.linalg.svdvals(maps)[:, :k], rtol=1e-5, atol=1e-9)
    v = found.kept
    signs = (found.u * (v @ maps.mT)).sum(-1, keepdim=True).sign()
    v = signs * v
    torch.testing.assert_close(v @ maps.mT, found.s[..., None] * found.u, rtol=0, atol=1e-4)
    missing = (found.u @ maps - found.s[..., None] * v).norm(dim=-1) / found.s
    assert float(missing.max()) <= 1e-3
    assert float(found.residuals.max()) <= 1e-3
    assert bool((found.residuals >= 0.99 * missing - 1e-9).all())
    torch.testing.assert_close(found.squared_norms, maps.square().sum((1, 2)), rtol=0.1, atol=0)


def test_joint_triplets_of_maps_of_low_rank_and_of_nothing() -> None:
    maps = decaying(30, 50, 3, 0.5)
    u, s, v = torch.linalg.svd(maps, full_matrices=False)
    s[0, 2:] = 0
    s[1] = 0
    found = jointly((u * s[:, None]) @ v, 4)
    torch.testing.assert_close(found.s, s[:, :4], rtol=1e-3, atol=1e-6)
    assert torch.isinf(found.residuals[0, 2:]).all()
    assert torch.isinf(found.residuals[1]).all()
    assert float(found.residuals[2].max()) <= 1e-2
    assert torch.isfinite(found.kept).all()


@pytest.mark.parametrize("limit", [None, 60, 48])
def test_joint_triplets_within_a_limit(limit: int | None) -> None:
    """A basis that may not grow starts anew, and the triplets come out as good."""
    maps = decaying(80, 120, 2, 0.95)
    found = jointly(maps, 4, limit=limit, tolerance=1e-3)
    torch.testing.assert_close(found.s, torch.linalg.svdvals(maps)[:, :4], rtol=1e-5, atol=0)
    assert float(found.residuals.max()) <= 1e-3


def test_joint_triplets_say_when_they_are_poor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat spectra, and no time."""
    monkeypatch.setattr("ggufjac.maps.spectra.joint.ROUNDS", 1)
    maps = torch.stack([draw(80, 120, seed=s) for s in range(3)])
    found = jointly(maps, 4)
    assert float(found.residuals.max()) > 0.1
    assert bool((found.s <= torch.linalg.svdvals(maps)[:, :4] * (1 + 1e-9)).all())


# --- the direct path ----------------------------------------------------------------------------------------------

FORMS = {
    "llama": TINY["llama"],
    "phi2": {},
    "gpt2": {},
    "gemma2": {},
    "gemma3n": {},
    "rwkv6": {},
    "granitehybrid": {},
    "nemotron_h": {"n_layer": 3},
}


@pytest.mark.parametrize("family", FORMS)
def test_direct_contributions_add_up(opened: Callable[..., Model], family: str) -> None:
    """Biases, parallel blocks, learned positions, capped logits, several planes, halved states, blocks of all kinds;
    and each block's is the sum of the paths that end in it."""
    maps = exact(opened(family, **FORMS[family]))
    w, b = maps.linear.logit_functional(17)
    found = maps.direct(torch.stack((w, 2 * w)))
    total = sum(found.writes.values()) + found.embedding + found.constant
    assert float(total[0]) + b == pytest.approx(float(maps.linear.logits[17]), rel=1e-10)
    assert float(total[1]) == pytest.approx(2 * float(total[0]), rel=1e-10)
    assert list(found.writes) == sorted(found.writes, key=lambda place: place[0])
    paths = last_writes(maps.linear, w)
    by_path = dict(zip(paths.names, (paths.terms.sum(1) + paths.constants)[1:].tolist(), strict=True))
    assert by_path.keys() == found.writes.keys()
    for place, value in found.writes.items():
        assert float(value[0]) == pytest.approx(by_path[place], rel=1e-8, abs=1e-9 * abs(float(total[0])))


# --- the analysis and its report ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tiny: Model) -> Layers:
    with torch.no_grad():
        return layers(tiny, IDS, LayersOptions(what=PARTS, layerwise=True, top=4))


def text(result: Layers, width: int) -> str:
    return printed(result, width)


def test_the_result_says_what_the_maps_say(tiny: Model, result: Layers) -> None:
    linear = tiny.linearize(IDS)
    maps = LayerMaps(tiny.family, linear)
    assert result.target.token.id == int(linear.logits.argmax())
    assert sum(write.logit for write in result.writes) == pytest.approx(result.target.logit, rel=1e-5)
    assert [(r.layer, r.part) for r in result.readings] == list(maps.places(range(2), PARTS))
    assert result.reconstruction < 1e-5
    last = result.of_part("layer")[-1]
    assert last.rank == 1
    assert last.probability == pytest.approx(result.target.probability, rel=1e-4)
    assert [p.id for p in last.lens[:3]] == [p.token.id for p in result.predictions[:3]]
    assert last.cumulative.overlap == pytest.approx(1, abs=1e-4)
    assert all(c.cosine == pytest.approx(1, abs=1e-4) for c in last.cumulative.concepts)
    assert result.lens.settled is not None
    for reading in result.readings:
        assert sum(reading.shares) + reading.constant_share == pytest.approx(1, abs=1e-5)
        assert reading.layerwise is not None
    svd = linear.svd(4)
    np.testing.assert_allclose([c.sigma for c in last.cumulative.concepts], svd.S.numpy(), rtol=1e-3)
    assert result.arrays["cumulative.U"].shape == (6, 4, tiny.family.d)
    assert result.arrays["shares"].shape == (6, len(IDS) + 1)


def test_the_lens_is_read_at_every_layer_whichever_are_asked_for(tiny: Model, result: Layers) -> None:
    states = tiny.run(IDS).states
    head, norm, run = tiny.family.head, tiny.family.output_norm, run_of(IDS)
    for target in (None, 17):
        for asked in ({"every": 2}, {"layers": (0,), "what": ("attn",)}, {}):
            with torch.no_grad():
                found = layers(tiny, IDS, LayersOptions(top=1, target=target, **asked))  # type: ignore[arg-type]
            wanted = found.target.token.id
            for reading, state in zip(found.lens_layers, states[1:], strict=True):
                logits = head.value(run, norm.value(run, state[-1:]))[0]
                assert reading.rank == int((logits > logits[wanted]).sum()) + 1
                assert reading.first.id == int(logits.argmax())
                assert reading.logit == pytest.approx(float(logits[wanted]), abs=1e-4)
                assert reading.probability == pytest.approx(float(logits.softmax(-1)[wanted]), abs=1e-5)
            at = [reading.layer for reading in found.lens_layers if reading.rank == 1]
            assert found.lens.first == (at[0] if at else None)
            assert found.lens == layers(tiny, IDS, LayersOptions(top=1, target=target)).lens
    for reading in result.of_part("layer"):
        assert result.lens_layers[reading.layer].rank == reading.rank
        assert result.lens_layers[reading.layer].probability == pytest.approx(reading.probability, abs=1e-6)


@pytest.mark.parametrize(
    ("so", "first", "settled"),
    [((0, 1, 1), 1, 1), ((1, 0, 1), 0, 2), ((0, 1, 0), 1, None), ((0, 0, 0), None, None), ((1, 1, 1), 0, 0)],
)
def test_since_when_something_is_so(so: tuple[int, ...], first: int | None, settled: int | None) -> None:
    assert _emergence([(layer, bool(yes)) for layer, yes in enumerate(so)]) == Emergence(first, settled)


def test_the_report_says_of_which_layers_it_speaks(tiny: Model, result: Layers) -> None:
    with torch.no_grad():
        few = layers(tiny, IDS, LayersOptions(top=1, layers=(1,)))
    assert "of those read here" in text(few, 140)
    assert "of those read here" not in text(result, 140)


def test_layers_can_be_chosen(tiny: Model, result: Layers) -> None:
    def read(**options: object) -> list[LayerPart]:
        with torch.no_grad():
            return [(r.layer, r.part) for r in layers(tiny, IDS, LayersOptions(top=2, **options)).readings]  # type: ignore[arg-type]

    assert read(every=2) == [(1, "layer")]
    assert read(layers=(0,)) == [(0, "layer")]
    assert read(layers=(0,), what=("mlp",)) == [(0, "mlp")]
    # what is compared with the last layer is so too where that is not read
    with torch.no_grad():
        first = layers(tiny, IDS, LayersOptions(top=4, layers=(0,)))
    overlap = result.of_part("layer")[0].cumulative.overlap
    assert first.readings[0].cumulative.overlap == pytest.approx(overlap, rel=1e-2)
    assert first.arrays["cumulative.S"].shape == (1, 4)
    for options, message in (
        ({"layers": (5,)}, "no layer 5"),
        ({"what": ("ssm",)}, "has a part 'ssm'"),
        ({"target": 99999}, "no token 99999"),
    ):
        with pytest.raises(UserError, match=message):
            read(**options)


@pytest.mark.parametrize("width", [50, 80, 104, 140, 200])
def test_the_report_fits_its_width(result: Layers, width: int) -> None:
    for shown in (text(result, width), text(replace(result, readings=result.readings[:1]), width)):
        assert max(map(len, shown.splitlines())) <= width
        assert "\x1b" not in shown
        for word in ("ggufjac layers", "emerges", "exactness", "Input tokens", "Direct contributions", "the logit of"):
            assert word in shown.replace("\n", " ")
    for word in ("Concepts of attn", "mlp alone", "Dimension"):
        assert word in text(result, width)


def test_wider_reports_tell_more(result: Layers) -> None:
    narrow, middle, wide = text(result, 80), text(result, 104), text(result, 140)
    assert "path" not in narrow.split("Concepts of")[0]
    assert "path" in middle
    assert "u₄" not in middle
    assert "u₄" in wide
    assert "span" in wide


def test_token_text_is_never_markup(result: Layers) -> None:
    nasty = Piece(result.target.token.id, "[/bold]\x1b[31m\n")
    changed = replace(result, target=replace(result.target, token=nasty), tokens=(nasty,) * len(result.tokens))
    shown = text(changed, 104)
    assert "[/bold]" in shown
    assert not any(ord(c) < 32 and c != "\n" for c in shown)


def test_a_result_without_the_layers_themselves(tiny: Model) -> None:
    with torch.no_grad():
        found = layers(tiny, IDS, LayersOptions(top=2, what=("attn",), target=17))
    shown = text(found, 104)
    assert "is the first token of the lens" in shown
    assert "of the leading left vector" not in shown
    assert "follows" in shown
    assert found.target.token.id == 17
    assert sum(write.logit for write in found.writes) == pytest.approx(found.target.logit, rel=1e-5)


def test_saved_and_loaded_is_the_same(result: Layers, tmp_path: Path) -> None:
    target = tmp_path / "layers.safetensors"
    result.save(target)
    again = load(target)
    assert again == result
    assert text(again, 104) == text(result, 104)  # type: ignore[arg-type]
    assert all(torch.equal(again.arrays[name], array) for name, array in result.arrays.items())
    assert json.loads(result.to_json())["schema"] == "ggufjac.layers/2"


def test_the_command(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ggufjac.cli.main import run

    arguments = ["layers", str(tiny_path), "The bridge", "--layers", "0-1", "--what", "layer,mlp", "--top", "2"]
    assert run([*arguments, "--json", "-"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert [(r["layer"], r["part"]) for r in plain["readings"]] == [(0, "mlp"), (0, "layer"), (1, "mlp"), (1, "layer")]
    assert run(["layers", str(tiny_path), "The bridge", "--layers", "7"]) == 2
    assert capsys.readouterr().err == "ggufjac: there is no layer 7; the model has layers 0 to 1\n"
    command = [sys.executable, "-m", "ggufjac", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "Concepts of mlp" in done.stdout


@pytest.mark.parametrize("text_", ["3;7", "x", "5-", "", ","])
def test_lists_of_layers_that_are_none(text_: str) -> None:
    from ggufjac.cli.main import parse

    with pytest.raises(UserError, match="layer"):
        parse(["layers", "m.gguf", "a", "--layers", text_])


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_real_models(name: str, request: pytest.FixtureRequest) -> None:
    """The lens at the last layer is the prediction, and what the blocks write adds up to its logit."""
    with Model.open(request.getfixturevalue(f"{name}_path")) as model, torch.no_grad():
        found = layers(model, "The Golden", LayersOptions(top=2, every=12, tolerance=3e-2))
    assert sum(write.logit for write in found.writes) == pytest.approx(found.target.logit, rel=1e-5)
    last = found.readings[-1]
    assert last.layer == found.n_layer - 1
    assert last.lens[0] == found.predictions[0].token
    assert found.reconstruction < 1e-5
    assert max(c.residual for r in found.readings for c in r.cumulative.concepts) <= 3e-2
