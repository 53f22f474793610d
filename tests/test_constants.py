"""Constants told apart: together they are the map's constant, and each is what a forward sweep of it alone gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import IDS
from ggufjac.analyses.common.constants import ConstantTerms
from ggufjac.maps import sweeps
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.maps.within.constants import Constants, ConstantSource, constants
from ggufjac.operators import Bias
from ggufjac.operators.base import built
from ggufjac.operators.preceded import Preceded
from ggufjac.operators.walk import leaves
from ggufjac.reports import constants as told
from tinymodels import FAMILIES, make

PROMPT = IDS[:6]
#: What is added to a state without being a tensor of the file.
UNFILED = {"up + 1"}
#: Families whose constants are of every kind: of the stream, of writes, of experts, of positions, of recurrences.
TOLD = ("qwen2", "gpt2", "phi2", "gpt-oss", "gemma3n", "mamba2", "rwkv7")
CASES = [*((name, "detached") for name in FAMILIES), *((name, rules) for name in TOLD for rules in ("lrp", "ordinary"))]


def functionals(linear: DetachedMap) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, linear.shape[0], generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module", params=TOLD)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.open(make(request.param, tmp_path_factory.mktemp("constants") / "tiny.gguf")) as opened:
        yield opened


@pytest.fixture(scope="module")
def linear(model: Model) -> DetachedMap:
    return model.linearize(PROMPT, "float64")


@pytest.fixture(scope="module")
def found(linear: DetachedMap) -> Constants:
    return constants(linear, functionals(linear))


@pytest.mark.parametrize(("family", "rules"), CASES)
def test_they_add_up_and_are_called_as_in_the_file(family: str, rules: str, tmp_path: Path) -> None:
    with Model.open(make(family, tmp_path / "tiny.gguf")) as model:
        linear = model.linearize(PROMPT, "float64", rules=rules)
        w = functionals(linear)
        here = constants(linear, w)
        torch.testing.assert_close(here.worth.sum((0, 2)), w @ linear.constant, rtol=1e-12, atol=1e-13)
        assert bool(linear.constant.any()) == bool(here.sources)
        for source in here.sources:
            assert source.name in UNFILED or source.name in model.file.tensors
            assert source.layer is None or f"blk.{source.layer}." in source.name or not source.name.startswith("blk.")


def alone(linear: DetachedMap, wanted: ConstantSource, position: int | None = None) -> Tensor:
    """What comes out when only the constants of one layer and name are there, or only those at one position."""
    zero, x = linear.inputs.new_zeros(1, *linear.inputs.shape), None
    for at, op in enumerate(map(built, linear.operators)):
        layer = at if at < len(linear.forward_pass.layers) else None
        kept = [(leaf, leaf.b) for leaf in {id(leaf): leaf for leaf in leaves(op)}.values() if isinstance(leaf, Bias)]
        for leaf, _ in kept:
            if (layer, leaf.name) != (wanted.layer, wanted.name):
                leaf.b = torch.zeros_like(leaf.b)
            elif position is not None:
                leaf.b = torch.stack(
                    [leaf.b if p == position else torch.zeros_like(leaf.b) for p in range(len(PROMPT))]
                )
        x = sweeps.forward([op], zero if x is None else x, 1.0)
        for leaf, b in kept:
            leaf.b = b
    assert x is not None
    return x[0, 0]


def test_each_is_what_it_gives_alone(linear: DetachedMap, found: Constants) -> None:
    w = functionals(linear)
    assert found.sources
    for wanted in dict.fromkeys((source.layer, source.name) for source in found.sources):
        same = [i for i, source in enumerate(found.sources) if (source.layer, source.name) == wanted]
        both = found.worth[same].sum((0, 2))
        expected = w @ alone(linear, found.sources[same[0]])
        assert float(expected.abs().max()) > 1e-9
        torch.testing.assert_close(both, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_each_position_has_its_own(family: str, tmp_path: Path) -> None:
    with Model.open(make(family, tmp_path / "tiny.gguf")) as model:
        linear = model.linearize(PROMPT, "float64")
        w = functionals(linear)
        here = constants(linear, w)
        (at,) = [i for i, s in enumerate(here.sources) if s.layer == 0 and s.name.endswith(("attn_v.bias", "qkv.bias"))]
        for position in range(len(PROMPT)):
            expected = w @ alone(linear, here.sources[at], position)
            torch.testing.assert_close(here.worth[at, :, position], expected, rtol=1e-10, atol=1e-13)
        assert len(set(here.worth[at, 0].tolist())) == len(PROMPT)


def test_what_the_last_layer_drops_enters_at_the_last_position(tmp_path: Path) -> None:
    with Model.open(make("gpt2", tmp_path / "tiny.gguf")) as model:
        linear = model.linearize(PROMPT, "float64")
        here = constants(linear, functionals(linear))
        last = next(i for i, source in enumerate(here.sources) if source.name == "output_norm.bias")
        assert here.sources[last] == ConstantSource(None, None, "output_norm.bias")
        assert not here.worth[last, :, :-1].any()
        assert here.worth[last, :, -1].all()


def test_the_write_they_enter_in_is_told(tmp_path: Path) -> None:
    with Model.open(make("phi2", tmp_path / "tiny.gguf")) as model:
        linear = model.linearize(PROMPT, "float64")
        places = {(s.layer, s.part, s.name) for s in constants(linear, functionals(linear)).sources}
        # both branches read one norm, whose bias enters in each
        assert {(0, "attn", "blk.0.attn_norm.bias"), (0, "mlp", "blk.0.attn_norm.bias")} <= places


def test_small_pieces_change_nothing(linear: DetachedMap, found: Constants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "piece_columns", lambda *_: 1)
    again = constants(linear, functionals(linear))
    assert again.sources == found.sources
    torch.testing.assert_close(again.worth, found.worth, rtol=1e-12, atol=1e-14)


def test_coefficients_that_are_made_anew_change_nothing(model: Model, found: Constants) -> None:
    tight = model.linearize(PROMPT, "float64", memory=1 << 20)
    again = constants(tight, functionals(tight))
    assert again.sources == found.sources
    torch.testing.assert_close(again.worth, found.worth, rtol=1e-10, atol=1e-13)


def test_positions_before_the_maps_own_have_no_place(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = model.linearize(PROMPT, "float64")
    monkeypatch.setattr(linear, "operators", (Preceded(linear.inputs[:1]), *linear.operators))
    monkeypatch.setattr(linear, "inputs", linear.inputs[1:])
    with pytest.raises(ValueError, match="before the map's own"):
        constants(linear, functionals(linear))


# --- in words ---------------------------------------------------------------------------------------------------


def terms(layer: int | None, name: str, *positions: float) -> ConstantTerms:
    return ConstantTerms(layer, "attn", name, (sum(positions),), positions)


def values_of(*sizes: float) -> list[ConstantTerms]:
    """Biases of v, layer by layer."""
    return [terms(i, f"blk.{i}.attn_v.bias", size, 0.0) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [((3,), "layer 3"), ((0, 1, 2), "layers 0–2"), ((0, 2, 3, 9), "layers 0, 2–3 and 9"), ((4, 6), "layers 4 and 6")],
)
def test_layers_in_words(numbers: tuple[int, ...], words: str) -> None:
    assert told.layers(numbers) == words


def test_the_largest_have_rows_and_the_others_share_them() -> None:
    rows = told.groups([*values_of(0.01, 3.0, -0.02, 1.0, 0.2), terms(None, "output_norm.bias", 0.0, 0.05)])
    assert [(row.label, round(row.term, 9)) for row in rows] == [
        ("biases of v, layer 1", 3.0),
        ("biases of v, layer 3", 1.0),
        ("biases of v, layers 0, 2 and 4", 0.19),
        ("biases of the output norm", 0.05),
    ]
    assert rows[2].positions == pytest.approx((0.19, 0.0))


def test_the_table_is_short_and_complete() -> None:
    kinds = [terms(i, f"blk.{i}.kind{kind}.bias", 0.01 * kind) for kind in range(12) for i in range(3)]
    sources = [*values_of(9.0, 8.0), *kinds]
    rows = told.groups(sources)
    assert len(rows) == told.ROWS
    assert rows[-1].label == "all others"
    assert sum(row.term for row in rows) == pytest.approx(sum(source.terms[0] for source in sources))


def test_one_name_says_where_most_comes_from() -> None:
    assert told.mostly(values_of(1.0, 2.0)) == "biases of v"
    assert told.mostly([*values_of(2.0), terms(0, "position_embd.weight", 1.0)]) == "mostly biases of v"
    assert told.mostly([terms(3, "blk.3.ffn_down_exps.bias", 1.0)]) == "biases of down in experts"
    assert told.mostly([terms(0, "position_embd.weight", 1.0)]) == "learned positions"
    assert told.mostly([]) == "constants"


def test_a_table_where_constants_are_more_than_a_few_percent() -> None:
    assert not told.matter([], 1.0)
    assert not told.matter(values_of(0.02), 1.0)
    assert told.matter(values_of(-0.04), 1.0)
    # kinds that cancel are each worth telling
    assert told.matter([*values_of(1.0), terms(0, "position_embd.weight", -1.0)], 1.0)
