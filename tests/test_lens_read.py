"""Reading a prompt through lenses: the states, the ranks, and that a lens without a matrix is the one with it."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from conftest import IDS
from ggufjac.analyses.lens.corpus import Corpus, corpus_of
from ggufjac.analyses.lens.fit import fit
from ggufjac.analyses.lens.options import LensFitOptions, LensReadOptions
from ggufjac.analyses.lens.read import LensGrids, lens
from ggufjac.analyses.table import load
from ggufjac.errors import UserError
from ggufjac.maps.lens.files import load_lens
from ggufjac.maps.lens.lens import Lens
from ggufjac.maps.model import Model
from ggufjac.reports.terminal.lens import lens_name

TEXTS = tuple(tuple((i * k + 3 * k) % 300 + 3 for i in range(14)) for k in (5, 7, 11))
CORPUS = Corpus(TEXTS, "three texts")


def read(model: Model, *lenses: object, **options: object) -> LensGrids:
    """In float64, with texts of 14 tokens."""
    chosen = LensReadOptions(dtype="float64", length=14, skip=3, prompts=3, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        return lens(model, IDS, chosen, lenses=lenses or ("logit",), corpus=CORPUS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted(tiny: Model) -> Lens:
    options = LensFitOptions(dtype="float64", prompts=3, length=14, skip=3)
    return fit(tiny, CORPUS, options)


def test_every_lens_ends_in_the_models_own_prediction(tiny: Model, fitted: Lens) -> None:
    """What leaves the last block is read as it is."""
    found = read(tiny, "logit", "own", "corpus", ("file", fitted))
    for grid in found.grids:
        last = grid.rows[-1].cells[-1]
        assert [piece.id for piece in last.top] == [p.token.id for p in found.predictions[: len(last.top)]]
        assert last.probabilities[0] == pytest.approx(found.predictions[0].probability, rel=1e-6)


def test_the_logit_lens_is_norm_and_head_of_every_state(tiny: Model) -> None:
    found, states = read(tiny, top=3), tiny.run(IDS, torch.float64).states
    run = tiny.run(IDS, torch.float64).run
    for row in found.grids[0].rows:
        _, y = tiny.family.output_norm.build(run.elsewhere(), states[row.layer + 1])
        expected = tiny.family.head.value(run.elsewhere(), y).softmax(-1)
        for cell, p in zip(row.cells, expected, strict=True):
            assert torch.allclose(torch.tensor(cell.probabilities, dtype=torch.float64), p.topk(3).values, rtol=1e-6)


@pytest.mark.parametrize("positions", [1, None])
def test_a_lens_without_a_matrix_reads_as_the_fitted_one(tiny: Model, fitted: Lens, positions: int | None) -> None:
    """With few states, whose columns are swept, and with many, for which the texts' Jacobians are cheaper."""
    found = read(tiny, ("file", fitted), "corpus", positions=positions, target=IDS[3])
    by_file, free = found.grids
    assert free.agreement == 1.0
    assert free.n_prompts == 3
    assert free.error is not None
    assert 0 < free.error < 10
    for one, other in zip(by_file.rows, free.rows, strict=True):
        for a, b in zip(one.cells, other.cells, strict=True):
            assert a.ranks == b.ranks
            assert b.probabilities == pytest.approx(a.probabilities, rel=1e-5)


def test_a_state_goes_through_the_layers_above_it_alone(tiny: Model) -> None:
    """The own lens's column of the last position is what the operators above the block make of the state there."""
    with torch.no_grad():
        options = LensReadOptions(dtype="float64", rules="detached")
        streams = tiny.linearize_streams(IDS, options)
        last = len(IDS) - 1
        sums = streams.transported(
            {0: streams.stream(0)[[last]]}, lambda h, _: torch.nn.functional.pad(h[:, None], (0, 0, last, 0))
        )
        alone = streams.operators[1].apply(torch.nn.functional.pad(streams.stream(0)[None, [last]], (0, 0, last, 0)))
        for op in streams.operators[2:]:
            alone = op.apply(alone)
    assert torch.allclose(sums[0], alone[:, -1], rtol=1e-12)


def test_ranks_positions_words_and_layers(tiny: Model) -> None:
    found = read(tiny, target=(IDS[2], IDS[3]), positions=2, layers=(1,), words=True)
    assert found.positions == (len(IDS) - 2, len(IDS) - 1)
    (row,) = found.grids[0].rows
    assert row.layer == 1
    assert [target.id for target in found.targets] == list(IDS[2:4])
    everything = read(tiny, target=(IDS[2],), positions=2, layers=(1,), top=tiny.family.n_vocab)
    for cell, whole in zip(row.cells, everything.grids[0].rows[0].cells, strict=True):
        order = [piece.id for piece in whole.top]
        assert abs(order.index(IDS[2]) + 1 - cell.ranks[0]) <= 1  # equal logits may change places
        assert all(any(c.isalnum() for c in piece.text) for piece in cell.top)


def test_a_report_fits_a_terminal_and_comes_back_from_a_file(tiny: Model, tmp_path: Path) -> None:
    found = read(tiny, "logit", "own", target=IDS[2])
    said = io.StringIO()
    Console(file=said, width=80).print(found)
    assert max(map(len, said.getvalue().split("\n"))) <= 80
    assert "Ranks of" in said.getvalue()
    found.save(tmp_path / "lens.safetensors")
    again = load(tmp_path / "lens.safetensors")
    assert dataclasses.replace(again, seconds={}) == dataclasses.replace(found, seconds={})  # type: ignore[call-arg]
    json.loads(found.to_json())


def test_files_of_one_name_are_told_apart_by_their_folders(tiny: Model, fitted: Lens) -> None:
    names = ("one/lens.pt", "two/lens.pt", "two/other.pt", "lens.pt")
    found = read(tiny, *((name, fitted) for name in names), "own")
    assert [lens_name(found, grid) for grid in found.grids] == [
        "one/lens.pt", "two/lens.pt", "other.pt", "lens.pt", "own",
    ]  # fmt: skip


def test_a_lens_of_another_model_is_refused(tiny: Model, tmp_path: Path) -> None:
    Lens({0: torch.eye(7), 1: torch.eye(7)}, 3).save(tmp_path / "other.pt")
    other = load_lens(tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other.pt: this is a lens of streams of width 7"):
        read(tiny, ("other.pt", other))


def test_a_corpus_is_cut_into_pieces_of_one_length(tiny: Model) -> None:
    long = list(range(3, 103))
    corpus = corpus_of(tiny, [long, IDS], "documents", length=20, skip=4)
    assert {len(text) for text in corpus.texts} <= {20, len(IDS), len(IDS) + 1}
    assert len(set(corpus.texts)) == len(corpus.texts)
    with pytest.raises(UserError, match="none of 1 documents has 102 tokens"):
        corpus_of(tiny, [IDS], "documents", length=120, skip=100)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"layers": (99,)}, "there is no layer 99"), ({"target": 10**6}, "there is no token")],
)
def test_mistakes_are_one_line(tiny: Model, options: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        read(tiny, **options)
