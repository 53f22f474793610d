"""Pictures of every kind of result: they are there, valid, hold the result's numbers, and stand any token."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import struct
import warnings
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

import matplotlib
from matplotlib.text import Text

from ggufjac.analyses.ablate import Ablation
from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.attribute import Attribution
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.layers import Layers
from ggufjac.analyses.ordinary import Ordinary
from ggufjac.analyses.table import KINDS
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.reports.plots import pictures, save
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.text import drawable, label
from results import NASTY, nasty

#: The pictures of every kind, where the result has all that it can have.
NAMES = {
    "analysis": {"words", "terms", "writes", "reads", "stable-ranks", "triplets", "spectra", "reconstruction"},
    "layers": {
        *("concepts", "concepts-layerwise", "concepts-attn", "concepts-attn-layerwise", "concepts-mlp"),
        *("concepts-mlp-layerwise", "stable-ranks", "path", "shares", "shares-attn", "shares-mlp", "contributions"),
    },
    "answer": {"whole", "tokens"},
    "attribution": {"words", "terms", "layers", "components", "carried", "heads", "attention"},
    "ablation": {"tokens", "components", "agreement"},
    "ordinary": {"reconstruction", "spectra", "terms"},
    "extremes": {"columns", "rows"},
    "plan": {"cost"},
    "comparison": {"overlaps", "spectra", "terms-A-B"},
    "tensor-comparison": {"tensors", "path", "worst"},
    "explanation": {"path", "steps"},
    "lens": {"lens-1", "lens-2", "lens-3", "ranks-1"},
    "patch": {"stream", "attn", "mlp", "heads", "scatter"},
    "steering": {"strengths", "layers"},
    "steering-pairs": {"strengths", "separation"},
    "steering-words": {"strengths"},
    "lens-vectors": {"vectors"},
    "lens-swap": {"next"},
    "lens-comparison": {"difference"},
}


@pytest.fixture(params=sorted(KINDS))
def result(request: pytest.FixtureRequest, results: dict[str, Result]) -> Result:
    return results[request.param]


def drawn(result: Result) -> dict[str, Picture]:
    return {picture.name: picture for picture in pictures(result)}


def widths(axes: Any) -> list[float]:
    return [patch.get_width() for patch in axes.patches]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def mesh(axes: Any) -> np.ndarray:
    return np.asarray(axes.collections[0].get_array())


def test_every_kind_has_its_pictures_as_valid_files(result: Result, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    written = save(result, tmp_path / "new" / "folder")
    assert dict(matplotlib.rcParams) == before
    assert {path.stem for path in written} == NAMES[result.kind]
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for path in written:
        assert ET.parse(path).getroot().tag.endswith("svg")


def test_any_token_can_be_a_label(result: Result, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph is a warning
        written = save(nasty(result), tmp_path, "png")
    assert {path.stem for path in written} == NAMES[result.kind]
    for path in written:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", data[16:24])
        assert min(width, height) > 200


def test_the_page_about_pictures_tells_of_all() -> None:
    text = (Path(__file__).parent.parent / "docs" / "pictures.md").read_text(encoding="utf-8")
    for names in NAMES.values():
        for name in names:
            # those of single parts, ways and sides have a common name
            assert any(f"`{shown}`" in text for shown in (name, name.split("-")[0]))


def test_the_same_result_gives_the_same_bytes(results: dict[str, Result], tmp_path: Path) -> None:
    one, other = (save(results["ablation"], tmp_path / name) for name in ("a", "b"))
    for first, second in zip(one, other, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_nothing_runs_over_a_pictures_edge(results: dict[str, Result]) -> None:
    """All words of the axes lie within the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from ggufjac.reports.plots.style import styled

    for kind in ("analysis", "attribution", "ablation"):
        for picture in pictures(results[kind]):
            with styled():
                FigureCanvasAgg(picture.figure).draw()
            width, height = picture.figure.bbox.size
            for axes in picture.figure.axes:
                for text in (*axes.get_yticklabels(), axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts):
                    if not text.get_text():
                        continue
                    box = text.get_window_extent()
                    middle = (box.y0 + box.y1) / 2
                    if text in axes.get_yticklabels() and not axes.bbox.y0 - 2 <= middle <= axes.bbox.y1 + 2:
                        continue  # a tick outside of the axis's limits, which is not drawn
                    assert box.x0 >= -1, (picture.name, text)
                    assert box.y0 >= -1, (picture.name, text)
                    assert box.x1 <= width + 1, (picture.name, text)
                    assert box.y1 <= height + 1, (picture.name, text)


def test_an_analysis_in_pictures(results: dict[str, Result]) -> None:
    a = results["analysis"]
    assert isinstance(a, Analysis)
    found = drawn(a)
    (terms,) = found["terms"].figure.axes
    assert widths(terms) == pytest.approx([*(row.logit for row in a.tokens), a.constant_logit])
    assert f"{a.target.logit:+.2f}" in texts(found["terms"].figure)[-1]
    (spectra,) = found["spectra"].figure.axes
    lines = [list(line.get_ydata()) for line in spectra.lines]
    assert lines[-1] == pytest.approx(a.arrays["combined.S"].tolist())
    for row in a.tokens:
        assert [t.sigma for t in row.triplets] in lines
    (writes,) = found["writes"].figure.axes
    assert mesh(writes).shape == (len(a.tokens), 4)
    assert sum(label(a.tokens[0].triplets[0].writes[0], 14) in text for text in texts(writes)) >= 1
    points, errors = found["reconstruction"].figure.axes
    inside, beyond = (np.asarray(c.get_offsets()) for c in points.collections)
    assert len(inside) + len(beyond) == len(a.arrays["output"])
    assert sum(patch.get_height() for patch in errors.patches) == len(a.arrays["output"])
    assert f"{a.reconstruction:.1e}" in points.get_title(loc="left")


def test_layers_in_pictures(results: dict[str, Result]) -> None:
    a = results["layers"]
    assert isinstance(a, Layers)
    found = drawn(a)
    readings = a.of_part("layer")
    (grid,) = found["concepts"].figure.axes
    assert mesh(grid).ravel() == pytest.approx([c.cosine for r in readings for c in r.cumulative.concepts])
    assert all(text.split()[0] == f"{c.sigma:.3g}" for text, c in
               zip(texts(grid), (c for r in readings for c in r.cumulative.concepts), strict=True))  # fmt: skip
    whole, alone = found["stable-ranks"].figure.axes
    for axes, way in ((whole, "cumulative"), (alone, "layerwise")):
        for line, part in zip(axes.lines, a.parts, strict=True):
            assert list(line.get_ydata()) == [getattr(r, way).stable_rank for r in a.of_part(part)]
    above, below = found["path"].figure.axes
    assert list(above.lines[0].get_ydata()) == [r.cumulative.concepts[0].cosine for r in readings]
    assert list(above.lines[1].get_ydata()) == [r.cumulative.overlap for r in readings]
    assert list(below.lines[0].get_ydata()) == [r.rank for r in readings]
    shares = found["shares"].figure.axes[0]
    assert mesh(shares) == pytest.approx(np.array([[100 * s for s in r.shares] for r in readings]))
    (sums,) = found["contributions"].figure.axes
    line = next(line for line in sums.lines if line.get_label() == "sum so far")
    assert line.get_ydata()[-1] == pytest.approx(a.target.logit, rel=1e-4)
    assert sum(patch.get_height() for patch in sums.patches) == pytest.approx(a.target.logit, rel=1e-4)


def test_an_attribution_in_pictures(results: dict[str, Result]) -> None:
    a = results["attribution"]
    assert isinstance(a, Attribution)
    found = drawn(a)
    for i, axes in enumerate(found["terms"].figure.axes):
        assert sum(widths(axes)) == pytest.approx(a.questions[i].value, rel=1e-4, abs=1e-5)
    layers = mesh(found["layers"].figure.axes[0])
    assert layers.sum(0) == pytest.approx([row.terms[0] for row in a.tokens], rel=1e-3, abs=1e-5)
    components = mesh(found["components"].figure.axes[0])
    assert components == pytest.approx(np.array([c.tokens for c in a.components]))
    assert mesh(found["carried"].figure.axes[0]) == pytest.approx(np.array(a.carried)[:, :-1])


def test_both_jacobians_and_an_ablation_in_pictures(results: dict[str, Result]) -> None:
    r, a = results["ordinary"], results["ablation"]
    assert isinstance(r, Ordinary)
    assert isinstance(a, Ablation)
    (terms,) = drawn(r)["terms"].figure.axes
    assert widths(terms) == pytest.approx([*r.detached.terms, *r.ordinary.terms])
    titles = [axes.get_title(loc="left") for axes in drawn(r)["reconstruction"].figure.axes]
    assert f"{r.detached.error:.1e}" in titles[0]
    assert f"{r.ordinary.error:.1e}" in titles[2]
    (tokens,) = drawn(a)["tokens"].figure.axes
    expected = [getattr(row, way).change for way in ("linear",) for row in a.tokens]
    expected += [row.derivative for row in a.tokens] + [row.zeroed.change for row in a.tokens]
    assert widths(tokens)[: 3 * len(a.tokens)] == pytest.approx(expected)


def test_long_prompts_show_what_matters_most() -> None:
    from ggufjac.reports.plots.shapes import most, of_all

    values = [float(i % 7) for i in range(100)]
    shown = most(values, 10)
    assert all(a < b for a, b in pairwise(shown))
    assert [values[i] for i in shown] == [6.0] * 10
    assert of_all(10, 100) == " (10 of 100 tokens)"


def test_labels() -> None:
    assert label(Piece(0, " only")) == "␣only"
    assert label(Piece(0, "a" * 40)) == "a" * 15 + "…"
    for text in NASTY:
        shown = label(Piece(0, text))
        assert shown == drawable(shown)
        assert all(c.isprintable() for c in shown)
    assert drawable("\U00010fff\ue123") == "\\U00010fff\\ue123"


def test_a_character_of_any_installed_font_is_drawn_as_itself(
    results: dict[str, Result], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Phases of the moon and fraktur, which a font has that comes with matplotlib, stand for emoji and for Chinese."""
    from ggufjac.reports.plots import text

    monkeypatch.setattr(text, "_preferred", lambda: ("DejaVu Sans Mono",))
    monkeypatch.setattr(text, "_needed", {})
    for kept in (text._known, text._elsewhere, text._others):
        kept.cache_clear()
    try:
        known = text._known()
        others = {name: codes for name, codes in text._others() if codes - known}
        assert others
        assert not any("Last Resort" in name for name in others)
        new = next(chr(code) for code in sorted(others["DejaVu Sans"] - known) if chr(code).isprintable())
        a = results["analysis"]
        assert isinstance(a, Analysis)
        token = dataclasses.replace(a.tokens[1], token=Piece(7, new))
        changed = dataclasses.replace(a, tokens=(a.tokens[0], token, *a.tokens[2:]))
        made = {picture.name: picture for picture in pictures(changed)}
        assert text.families()[0] == "DejaVu Sans Mono"
        assert len(text.families()) > 1
        said = [label.get_text() for axes in made["terms"].figure.axes for label in axes.get_yticklabels()]
        assert any(new in one for one in said)
        made["terms"].figure.savefig(io.BytesIO(), format="png")
        assert not [w for w in recwarn if "missing from" in str(w.message)]
    finally:
        for kept in (text._known, text._elsewhere, text._others):
            kept.cache_clear()


def test_vectors_are_numbered_as_in_the_report(results: dict[str, Result]) -> None:
    said = {text.get_text() for picture in pictures(results["layers"]) for text in picture.figure.findobj(Text)}
    assert any("u₁" in one for one in said)
    assert not any("u1" in one for one in said)


def test_without_matplotlib_one_line(
    results: dict[str, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec

    def without(name: str, *more: Any) -> Any:
        return None if name == "matplotlib" else found(name, *more)

    saved = tmp_path / "a.safetensors"
    results["plan"].save(saved)
    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert run(["show", str(saved), "--plot", str(tmp_path / "pictures")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "ggufjac: pictures need matplotlib, which is not installed: pip install matplotlib"
    ]
    assert not (tmp_path / "pictures").exists()


def test_the_command_draws(results: dict[str, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, file = tmp_path / "a.safetensors", tmp_path / "file"
    results["plan"].save(saved)
    assert run(["show", str(saved), "--plot", str(tmp_path / "pictures"), "--plot-format", "png"]) == 0
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["cost.png"]
    file.touch()
    capsys.readouterr()
    assert run(["show", str(saved), "--plot", str(file / "pictures")]) == 2
    assert str(file) in capsys.readouterr().err


def test_a_kind_without_pictures_is_refused(results: dict[str, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(results["plan"]), "kind", "nothing_like_it")
    with pytest.raises(UserError, match="no pictures"):
        pictures(results["plan"])
