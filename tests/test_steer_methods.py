"""What compares ways of steering: its material, how texts are counted, its pushes, and its table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks.steer.concepts import Concept, read
from benchmarks.steer.measures import Meter, Place, Rated, fixed, texts_of
from benchmarks.steer.methods import NOTHING, PUBLISHED, Cell, lines, load
from benchmarks.steer.operators import Variants, along, scaled, streamed
from ggufjac.errors import UserError
from ggufjac.maps.model import Model


def test_the_material_is_whole() -> None:
    found = read()
    assert len(found.concepts) >= 6
    assert len(found.negative) == 10
    for concept in found.concepts:
        assert len(concept.positive) == len(found.negative)
        # nothing that is gone on with, or that prices are measured on, speaks of a concept
        assert not any(map(concept.hits, found.prompts))
        assert not any(map(concept.hits, found.neutral))


def test_whole_words_are_counted() -> None:
    concept = Concept("x", "", (), ("sea ship",), ("sea", "ship", "wave", "golden gate"))
    text = "The sea, the SEA and a seat: waves, a wave; the Golden Gate."
    assert concept.hits(text) == 4
    assert concept.others(text) == 2


def test_the_meter_reads_as_texts_are_written(tiny: Model) -> None:
    """The published operator on a known text is the one that goes on with it; a push by a share of the stream is as
    long as it says."""
    meter = Meter(tiny, ("the bridge over the river", "an old town of bridges"), 4)
    variants = Variants(tiny, meter.texts, 1)
    with torch.no_grad():
        terms, maps = variants.terms("The bridge", "detached")
        known, going = along(tiny, 1, [(terms.cumsum(1), True)], 0.0), streamed(maps, 1)
        a, b = (meter.measured(pushing, [0], [0.3], [(5, 7)]) for pushing in (known, going))
        assert a[0] == pytest.approx(b[0], rel=1e-3)
        v = torch.randn(tiny.family.leaving, generator=torch.Generator().manual_seed(0))
        (priced,) = meter.at_price(scaled(tiny, 1, v), 1, 0.1, [(5, 7)])
        assert priced.price == pytest.approx(0.1, rel=0.05)
        plain, pushed = (meter.measured(scaled(tiny, 1, v), [0], [s], [(5, 7)])[0] for s in (0.0, priced.strength))
        assert plain[0] == pytest.approx(0, abs=1e-5)
        assert pushed[0] == pytest.approx(priced.price, rel=1e-3)


def test_every_push_has_its_own_texts(tiny: Model) -> None:
    concept = Concept("x", "", (), (), ("a",))
    v = torch.randn(tiny.family.leaving, generator=torch.Generator().manual_seed(0))
    pushing = fixed(tiny, [Place(1, v), Place(0, -v)])
    with torch.no_grad():
        both = texts_of(tiny, ("the", "an old bridge"), 2, 3, pushing, [1.0, 2.0], [concept] * 2)
        second = texts_of(tiny, ("the", "an old bridge"), 2, 3, fixed(tiny, [Place(0, -v)]), [2.0], [concept])
    assert [len(each) for each in both] == [4, 4]
    assert [text.text for text in both[1]] == [text.text for text in second[0]]
    assert [(text.prompt, text.seed) for text in both[0]] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def _cell(method: str, concept: str, hits: tuple[int, ...]) -> Cell:
    texts = tuple(Rated(i, 0, "said", n, 0, 4, -1.0) for i, n in enumerate(hits))
    return Cell("smollm2-135m", concept, method, 20, 0.3, 0.5, 0.01, texts)


def test_the_table_means_over_whole_rows(tmp_path: Path) -> None:
    cells = [
        _cell(NOTHING, "weddings", (0, 0)),
        _cell(NOTHING, "music", (0, 0)),
        _cell("pairs mean", "weddings", (1, 0)),
        _cell("pairs mean", "music", (3, 1)),
        _cell(PUBLISHED, "weddings", (0, 0)),
    ]
    file = tmp_path / "cells.jsonl"
    file.write_text("".join(json.dumps(asdict(cell)) + "\n" for cell in cells), encoding="utf-8")
    assert load(file) == cells
    rows = {row.split(" | ")[0].strip("| "): row.split(" | ")[1:] for row in lines([file]) if row.startswith("|")}
    assert rows["pairs mean"][:3] == ["50 ± 50", "100 ± 0", "75 ± 25"]
    assert rows[PUBLISHED][:3] == ["0 ± 0", "", ""]
    file.write_text("{}\n", encoding="utf-8")
    with pytest.raises(UserError, match="is no file of"):
        load(file)
