"""The analysis of a small model, its report at any width, and its round trips."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.analyze import Analysis, analyze
from ggufjac.analyses.common.decoding import Decoder
from ggufjac.analyses.common.result import RESULT
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.options import AnalyzeOptions
from ggufjac.analyses.table import load
from ggufjac.atomic import require_writable, write
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.quants import native
from ggufjac.readable import readable


@pytest.fixture(scope="module")
def result(tiny: Model) -> Analysis:
    with torch.no_grad():
        return analyze(tiny, IDS, AnalyzeOptions(top=5, ordinary=True))


def text(result: Analysis, width: int, **options: object) -> str:
    return printed(result, width, **options)


def test_shares_and_logits_add_up(result: Analysis) -> None:
    assert sum(row.output_share for row in result.tokens) + result.constant_share == pytest.approx(1, abs=1e-5)
    total = sum(row.logit for row in result.tokens) + result.constant_logit
    assert total == pytest.approx(result.target.logit, rel=1e-5)
    assert abs(result.constant_share) > 1e-3  # this model has biases


def test_components_of_a_token_add_up_to_its_term(tiny: Model) -> None:
    """With every triplet asked for, sigma_i (v_i . x_t)(w . u_i) over i is the token's whole term of the logit."""
    options = AnalyzeOptions(top=tiny.family.d, tokens="each", dtype=torch.float64, verify=False)
    with torch.no_grad():
        full = analyze(tiny, IDS[:3], options)
    for row in full.tokens:
        assert sum(t.logit for t in row.triplets) == pytest.approx(row.logit, abs=1e-6 * abs(full.target.logit))


def test_decoding_is_that_of_dense_matrices(tiny: Model) -> None:
    decoder = Decoder(tiny.family, torch.float64)
    head, embedding = (
        torch.as_tensor(native.dequantize(w.type, w.data), dtype=torch.float64)
        for w in (tiny.family.head_matrix().weight, tiny.family.embedding)
    )
    vectors = torch.randn(4, tiny.family.d, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert torch.equal(decoder.writes(vectors, 6).ids, (vectors @ head.T).topk(6).indices)
    cosines = torch.nn.functional.cosine_similarity(vectors[:, None], embedding[None], dim=-1)
    found = decoder.reads(vectors, 6)
    assert torch.equal(found.ids, cosines.topk(6).indices)
    torch.testing.assert_close(found.scores, cosines.topk(6).values)


def test_rows_without_length_are_never_read(tiny: Model) -> None:
    decoder = Decoder(tiny.family, torch.float32)
    decoder._norms[:300] = 0.0
    found = decoder.reads(torch.randn(3, tiny.family.d, generator=torch.Generator().manual_seed(1)), 8)
    assert int(found.ids.min()) >= 300
    assert torch.isfinite(found.scores).all()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 130, 200])
def test_the_report_fits_its_width_and_needs_no_colour(result: Analysis, width: int) -> None:
    shown = text(result, width, no_color=True, force_terminal=False)
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= width
    for word in (
        "model",
        "predicts",
        "llama.cpp",
        "MATCH",
        "explains",
        "exactness",
        "Which words mattered",
        "not credited",
        "Input tokens",
        "Whole map",
        "biases of",
        "sum",
    ):
        assert word in shown.replace("\n", " ")


def test_wider_reports_tell_more(result: Analysis) -> None:
    narrow, wide = text(result, 80), text(result, 140)
    assert "reads (v₁)" not in narrow
    assert "reads (v₁)" in wide
    assert "writes (u₂)" in wide


def test_token_text_is_never_markup_or_control(result: Analysis) -> None:
    for nasty in ("[/INST]", "[bold red]", "a\nb", "\x1b[31m", "\t", " ", "   ", "", "\u202e", "\\xff", "[link=x]"):
        prediction = replace(result.predictions[0], token=Piece(5, nasty))
        changed = replace(result, predictions=(prediction,), target=prediction, prompt=nasty)
        shown = text(changed, 120, no_color=True, force_terminal=False)
        assert readable(nasty)[:16] in shown
        assert not any(ord(c) < 32 and c != "\n" for c in shown)
        assert "\u202e" not in shown


def test_readable() -> None:
    assert readable(" the") == "␣the"
    assert readable("the  ") == "the␣␣"
    assert readable("a b") == "a b"
    assert readable("  ") == "␣␣"
    assert readable("\n\\n\t") == "⏎\\n\\t"
    assert readable("") == "∅"
    assert readable("日本") == "日本"


def test_json_is_complete_and_valid(result: Analysis) -> None:
    plain = json.loads(result.to_json())
    assert plain["schema"] == "ggufjac.analysis/2"
    assert len(plain["tokens"]) == len(IDS)
    assert len(plain["tokens"][0]["triplets"]) == 5
    assert plain["agreement"]["verdict"] == "MATCH"
    broken = replace(result, combined_stable_rank=math.nan)
    assert json.loads(broken.to_json())["combined_stable_rank"] is None


def test_saved_and_loaded_is_the_same(result: Analysis, tmp_path: Path) -> None:
    target = tmp_path / "run.safetensors"
    result.save(target)
    again = load(target)
    assert again == result
    assert again.arrays.keys() == result.arrays.keys()
    assert all(torch.equal(again.arrays[name], array) for name, array in result.arrays.items())
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]


def test_arrays_are_what_their_names_say(tiny: Model, result: Analysis) -> None:
    arrays = result.arrays
    linear = tiny.linearize(IDS)
    y = linear.output
    torch.testing.assert_close(arrays["terms"][0], linear.terms() @ y / (y @ y), rtol=1e-4, atol=1e-5)
    assert float(arrays["terms"][1].sum()) == pytest.approx(float(linear.logits.max()), rel=1e-5)
    image = linear.matmat(arrays["combined.V"])
    torch.testing.assert_close(image, arrays["combined.S"][:, None] * arrays["combined.U"], rtol=1e-2, atol=1e-3)
    np.testing.assert_array_equal(arrays["tokens"].numpy(), IDS)


def test_a_result_with_one_part_only(tiny: Model) -> None:
    with torch.no_grad():
        each = analyze(tiny, IDS, AnalyzeOptions(top=2, tokens="each", verify=False))
        combined = analyze(tiny, IDS, AnalyzeOptions(top=2, tokens="combined", verify=False))
    assert "Whole map" not in text(each, 100)
    assert "not asked: --no-verify" in text(each, 100)
    assert "writes (u₁)" not in text(combined, 100)
    assert "each.U" not in combined.arrays
    assert combined.to_json()


def test_a_result_shows_itself_in_a_notebook(result: Analysis) -> None:
    cell = result._repr_html_()
    assert cell.startswith('<div class="ggufjac cell">')
    assert "<script" not in cell
    assert "Input tokens" in cell


def test_files_that_hold_no_result_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    plain = tmp_path / "plain.safetensors"
    save_file({"x": torch.zeros(2)}, plain)
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(2)}, other, metadata={RESULT: '{"schema": "ggufjac.analysis/999"}'})
    torn = tmp_path / "torn.safetensors"
    save_file({"x": torch.zeros(2)}, torn, metadata={RESULT: '{"schema": "ggufjac.analysis/1"}'})
    text_file = tmp_path / "text"
    text_file.write_text("hello")
    shown = tmp_path / "shown.json"
    shown.write_text('{\n "schema": "ggufjac.analysis/1"\n}')
    for path, message in (
        (plain, "holds no ggufjac result"),
        (other, "999"),
        (torn, "damaged"),
        (text_file, "no safetensors file .*--save"),
        (shown, "JSON of a result.*--save"),
        (tmp_path / "none", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            load(path)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x.json", fail)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="missing or not writable"):
        require_writable(str(tmp_path / "missing" / "x.json"))
