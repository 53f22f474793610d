"""Comparisons: of what is the same, of what is known to differ, and of quantisations against dense algebra."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.compare.comparison import Comparison, compare
from ggufjac.analyses.compare.overlap import kept, matched, overlap
from ggufjac.analyses.options import CompareOptions
from ggufjac.analyses.table import load
from ggufjac.cli.main import parse, run
from ggufjac.errors import UserError
from ggufjac.llamacpp.quantize import quantize
from ggufjac.maps.model import Model
from ggufjac.reader import GGUFFile
from tinymodels import make

PROMPT, TOP = IDS[:6], 4
EXACT = CompareOptions(top=TOP, dtype=torch.float64)


@pytest.fixture(scope="module")
def coarse_path(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as llama.cpp quantises it."""
    path = tmp_path_factory.mktemp("coarse") / "tiny.Q4_K_M.gguf"
    quantize(tiny_path, path, "Q4_K_M")
    return path


@pytest.fixture(scope="module")
def coarse(coarse_path: Path) -> Iterator[Model]:
    with Model.open(coarse_path) as model:
        yield model


@pytest.fixture(scope="module")
def result(tiny: Model, coarse: Model) -> Comparison:
    """With triplets so exact that what is compared is the algebra after them."""
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("ggufjac.maps.linear.TOLERANCE", 1e-6)
        return compare([tiny, coarse], [PROMPT], CompareOptions(top=TOP, target=42, dtype=torch.float64))


def text(result: Comparison, width: int) -> str:
    return printed(result, width)


def orthonormal(n: int, k: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, k, generator=generator, dtype=torch.float64)).Q.T


def test_order_and_signs_of_a_basis_do_not_matter() -> None:
    basis, order = orthonormal(20, 5), [3, 0, 4, 1, 2]
    other = basis[order] * torch.tensor([1.0, -1, 1, -1, -1], dtype=torch.float64)[:, None]
    pairs = matched((basis @ other.T).square())
    assert [order[j] for _, j in pairs] == [0, 1, 2, 3, 4]
    assert overlap(basis, other) == pytest.approx(1)
    assert kept(basis, other).tolist() == pytest.approx([1] * 5)


def test_a_turned_vector_has_the_cosine_of_its_angle() -> None:
    basis, angle = orthonormal(20, 5), 0.3
    turned = basis[:4].clone()
    turned[1] = math.cos(angle) * basis[1] + math.sin(angle) * basis[4]  # towards what the span does not have
    cosines = (basis[:4] @ turned.T).abs()
    assert matched(cosines.square()) == [(i, i) for i in range(4)]
    assert cosines.diagonal().tolist() == pytest.approx([1, math.cos(angle), 1, 1])
    assert overlap(basis[:4], turned) == pytest.approx((3 + math.cos(angle) ** 2) / 4)
    assert kept(basis[:4], turned).tolist() == pytest.approx([1, math.cos(angle) ** 2, 1, 1])


def test_mixed_within_the_span_is_told_from_gone() -> None:
    basis = orthonormal(20, 3)
    mixed = orthonormal(3, 3, seed=1) @ basis
    assert (basis @ mixed.T).abs().max() < 0.99
    assert kept(basis, mixed).tolist() == pytest.approx([1] * 3)
    assert kept(basis, orthonormal(20, 17, seed=2)).sum() < 3


def test_the_best_assignment_is_not_the_greedy_one() -> None:
    assert matched(torch.tensor([[0.9, 0.8], [0.8, 0.1]])) == [(0, 1), (1, 0)]


def test_a_model_beside_itself_differs_in_nothing(tiny: Model, tiny_path: Path, tmp_path: Path) -> None:
    with Model.open(shutil.copy(tiny_path, tmp_path / "copy.gguf")) as copy, torch.no_grad():
        same = compare([tiny, copy], [PROMPT], EXACT)
    (change,) = same.changes
    assert change.network
    assert change.vocabulary
    assert change.aligned
    for value in (change.left, change.right, change.written, change.read, change.state):
        assert value == pytest.approx(1)
    assert change.kl == 0
    for concept in change.concepts:
        assert concept.one == concept.other
        assert (concept.cosine, concept.right_cosine, concept.kept) == pytest.approx((1, 1, 1))
        assert concept.sigma_one == concept.sigma_other
        assert concept.gained == concept.lost == ()
    (shift,) = change.shifts  # both predict the same token
    assert all(token.before == token.after for token in shift.tokens)
    assert shift.before == shift.after


def test_a_scaled_output_norm_doubles_everything_and_turns_nothing(
    tiny: Model, tiny_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "twice.gguf"
    path.write_bytes(tiny_path.read_bytes())
    with GGUFFile.open(path) as file:
        info = file.tensors["output_norm.weight"]
        where, n = info.offset, info.n_weights
    with path.open("r+b") as raw:
        raw.seek(where)
        weights = np.frombuffer(raw.read(4 * n), np.float32)
        raw.seek(where)
        raw.write((2 * weights).tobytes())
    with Model.open(path) as twice, torch.no_grad():
        (change,) = compare([tiny, twice], [PROMPT], EXACT).changes
    assert change.left == pytest.approx(1)
    assert change.state == pytest.approx(1)
    for concept in change.concepts:
        assert concept.cosine == pytest.approx(1)
        assert concept.sigma_other == pytest.approx(2 * concept.sigma_one)
        assert concept.gained == ()
    for shift in change.shifts:
        assert shift.tokens
        assert [token.after for token in shift.tokens] == pytest.approx([2 * token.before for token in shift.tokens])
    assert change.kl > 0.01


def test_terms_and_their_differences_add_up(result: Comparison) -> None:
    (change,) = result.changes
    assert change.shifts[0].target.id == 42
    for shift in change.shifts:
        assert shift.before is not None
        assert shift.after is not None
        before = sum(token.before for token in shift.tokens) + shift.constant_before
        after = sum(token.after for token in shift.tokens) + shift.constant_after
        assert before == pytest.approx(shift.before.logit, rel=1e-10)
        assert after == pytest.approx(shift.after.logit, rel=1e-10)
        assert shift.constant_before != 0  # this model has biases
    for side in result.sides:
        assert sum(side.shares) + side.constant_share == pytest.approx(1)
        assert side.reconstruction < 1e-13


def test_a_quantisation_is_what_dense_algebra_says(tiny: Model, coarse: Model, result: Comparison) -> None:
    (change,) = result.changes
    maps = [model.linearize(PROMPT, dtype=torch.float64) for model in (tiny, coarse)]
    dense = [torch.linalg.svd(m.jacobian().flatten(1), full_matrices=False) for m in maps]
    u, v = ([svd.U.T[:TOP] for svd in dense], [svd.Vh[:TOP] for svd in dense])
    assert change.left == pytest.approx(float(torch.linalg.svdvals(u[0] @ u[1].T).square().mean()), abs=1e-5)
    assert change.right == pytest.approx(float(torch.linalg.svdvals(v[0] @ v[1].T).square().mean()), abs=1e-5)
    assert 0.3 < change.left < 1 - 1e-4  # quantised, and recognisable
    for concept in change.concepts:
        i, j = concept.one - 1, concept.other - 1
        assert concept.cosine == pytest.approx(abs(float(u[0][i] @ u[1][j])), abs=1e-5)
        assert concept.right_cosine == pytest.approx(abs(float(v[0][i] @ v[1][j])), abs=1e-5)
        assert concept.sigma_one == pytest.approx(float(dense[0].S[i]), rel=1e-6)
        assert concept.sigma_other == pytest.approx(float(dense[1].S[j]), rel=1e-6)
        assert concept.cosine**2 <= concept.kept + 1e-9
    p, q = (m.logits.log_softmax(-1) for m in maps)
    assert change.kl == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-9)
    assert result.kl[1][0] == pytest.approx(float((q.exp() * (q - p)).sum()), rel=1e-9)
    y = [m.output for m in maps]
    assert change.state == pytest.approx(float(torch.cosine_similarity(y[0], y[1], 0)))
    for shift in change.shifts:
        for m, which in zip(maps, ("before", "after"), strict=True):
            w, _ = m.logit_functional(shift.target.id)
            terms = torch.einsum("d,dtn,tn->t", w, m.jacobian(), m.inputs)
            assert [getattr(token, which) for token in shift.tokens] == pytest.approx(terms.tolist(), abs=1e-9)
    for side, svd in zip(result.sides, dense, strict=True):
        stable = svd.S.square().sum() / svd.S[0].square()
        assert side.stable_rank == pytest.approx(float(stable), rel=1e-6 if side.exact else 0.3)


def test_words_do_not_depend_on_the_signs_of_triplets(
    tiny: Model, coarse: Model, result: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ggufjac.maps.linear import SVD, LinearMap

    plain = LinearMap.svd

    def reversed_second(self: LinearMap, *args: object, **options: object) -> SVD:
        found = plain(self, *args, **options)  # type: ignore[arg-type]
        if self.inputs.equal(coarse.embed(PROMPT, torch.float64)):
            return SVD(-found.U, found.S, -found.V, found.residuals, found.exact)
        return found

    monkeypatch.setattr(LinearMap, "svd", reversed_second)
    with torch.no_grad():
        (change,) = compare([tiny, coarse], [PROMPT], CompareOptions(top=TOP, target=42, dtype=torch.float64)).changes
    assert (change.written, change.read) == (result.changes[0].written, result.changes[0].read)
    for concept, as_signed in zip(change.concepts, result.changes[0].concepts, strict=True):
        assert (concept.gained, concept.lost) == (as_signed.gained, as_signed.lost)


def test_prompts_of_one_model(tiny: Model) -> None:
    other, longer = [*PROMPT[:3], 55, *PROMPT[4:]], IDS[:9]
    with torch.no_grad():
        result = compare([tiny], [PROMPT, other, longer], EXACT)
    aligned, apart = result.changes
    assert (aligned.one, aligned.other, apart.one, apart.other) == (0, 1, 0, 2)
    assert aligned.aligned
    assert [x.one.id == x.other.id for x in aligned.shifts[0].tokens] == [True, True, True, False, True, True]
    assert not apart.aligned
    assert math.isnan(apart.right)
    assert all(shift.tokens == () for shift in apart.shifts)
    assert apart.kl > 0
    assert 0 < apart.left <= 1
    for i in range(3):
        assert result.left[i][i] == pytest.approx(1)
        assert result.kl[i][i] == 0
        assert result.left[0][i] == pytest.approx(result.left[i][0])
    assert result.left[0][2] == apart.left
    assert result.written[0][1] == aligned.written


def test_models_that_differ_in_size_and_vocabulary(tiny: Model, tmp_path: Path) -> None:
    path = make("gemma3", tmp_path / "other.gguf", n_embd=512, n_layer=2)
    spelled = "▁bridge".encode()
    raw = path.read_bytes()
    assert raw.count(spelled) == 1
    path.write_bytes(raw.replace(spelled, "▁Bridge".encode()))
    with Model.open(path) as other, torch.no_grad():
        result = compare([tiny, other], [PROMPT], CompareOptions(top=TOP, target=3 + 256 + 27))
        known = tiny.vocab.piece(3 + 256 + 27)
        assert known == b" bridge"
    (change,) = result.changes
    assert not change.network
    assert not change.vocabulary
    assert all(math.isnan(x) for x in (change.left, change.right, change.state, change.kl))
    assert 0 <= change.written <= 1
    assert len({concept.other for concept in change.concepts}) == TOP
    followed, *predicted = change.shifts
    assert followed.after is None
    assert followed.before is not None
    assert followed.tokens == ()
    assert result.sides[0].target is not None
    assert result.sides[1].target is None
    for shift in predicted:  # both vocabularies have these
        assert shift.before is not None
        assert shift.after is not None
        assert shift.before.token.text == shift.after.token.text
        total = sum(token.after for token in shift.tokens) + shift.constant_after
        assert total == pytest.approx(shift.after.logit, abs=1e-4)
    assert "·" in text(result, 100)


def test_llama_cpps_own_runs_can_be_compared(tiny: Model, coarse: Model) -> None:
    from ggufjac.llamacpp.run import Runner

    with torch.no_grad():
        result = compare([tiny, coarse], [PROMPT], CompareOptions(top=2, run="llama.cpp"))
    for side, model in zip(result.sides, (tiny, coarse), strict=True):
        with Runner(model.file.path, n_ctx=len(PROMPT)) as runner:
            assert side.predictions[0].token.id == int(runner.logits(PROMPT).argmax())
        assert side.llama is not None
    assert "llama.cpp" in text(result, 100)


def test_what_cannot_be_compared(tiny: Model) -> None:
    with pytest.raises(UserError, match="nothing to compare"):
        compare([tiny], [PROMPT])
    with pytest.raises(UserError, match="no token 99999"):
        compare([tiny, tiny], [PROMPT], CompareOptions(target=99999))


@pytest.mark.parametrize("width", [50, 80, 104, 140])
def test_the_report_fits(result: Comparison, width: int) -> None:
    shown = text(result, width)
    assert max(map(len, shown.splitlines())) <= width
    for word in ("Sides", "What they share", "prediction", "input tokens", "concepts", "sum"):
        assert word in shown


def test_the_table_of_pairs_shows_every_pair(tiny: Model) -> None:
    with torch.no_grad():
        result = compare([tiny], [PROMPT[:n] for n in (2, 3, 4, 5, 6)], CompareOptions(top=2))
    shown = text(result, 100)
    assert "All pairs" in shown
    assert f"{result.left[4][3]:.3f}" in shown
    assert f"{result.written[3][4]:.3f}" in shown
    assert "1 more changes" in shown
    assert "All pairs" not in text(result, 40)


def test_what_moved_little_in_a_long_prompt_is_added_up(tiny: Model) -> None:
    long = [1, *range(260, 279)]
    with torch.no_grad():
        result = compare([tiny], [long, [*long[:10], 42, *long[11:]]], CompareOptions(top=1))
    shown = text(result, 104)
    assert "4 others" in shown
    assert result.changes[0].shifts[0].after is not None
    assert f"{result.changes[0].shifts[0].after.logit:+.2f}" in shown


def test_the_command_and_its_round_trip(
    tiny_path: Path, coarse_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "c.safetensors"
    arguments = [str(tiny_path), str(coarse_path), "The bridge", "--top", "3"]
    assert run(["compare", *arguments, "--save", str(saved), "--json", "-"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["schema"] == "ggufjac.comparison/2"
    again = load(saved)
    assert isinstance(again, Comparison)
    assert again.to_dict() == plain
    assert again.arrays["1.U"].shape == (3, 256)
    assert [model.file for model in again.models] == [tiny_path.name, coarse_path.name]
    terms = again.arrays["0.terms"][list(again.arrays["0.targets"]).index(again.changes[0].shifts[0].target.id)]
    logit = again.changes[0].shifts[0].before
    assert logit is not None
    assert float(terms.sum()) == pytest.approx(logit.logit, abs=1e-4)


def test_prompts_by_option_and_by_file(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "prompts.txt"
    lines.write_text("The bridge\n\n  and out\n", encoding="utf-8")
    options = ["--prompt", "out", "--prompts", str(lines), "--top", "2", "--json", "-"]
    assert run(["compare", str(tiny_path), *options]) == 0
    assert json.loads(capsys.readouterr().out)["prompts"] == ["out", "The bridge", "  and out"]


def test_where_the_words_may_stand() -> None:
    assert parse(["compare", "a", "b", "--top", "3", "text"]).words == ["a", "b", "text"]
    assert parse(["compare", "--top", "3", "a", "b", "text"]).words == ["a", "b", "text"]
    assert parse(["compare", "a", "--prompt", "x", "--prompt", "y"]).texts == ["x", "y"]


def test_mistakes_are_told(
    tiny_path: Path, coarse_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aimed = tmp_path / "p.jsonl"
    aimed.write_text('{"prompt": "a"}\n{"prompt": "b", "target": "c"}\n')
    tiny, coarse = str(tiny_path), str(coarse_path)
    for arguments, word in (
        ([tiny, coarse], "no prompt is left"),
        ([tiny], "alone is nothing to compare"),
        ([tiny, coarse, "no-such.gguf"], "if it is the prompt"),
        ([tiny, "The bridge"], "nothing to compare"),
        ([tiny, coarse, ""], "empty"),
        ([tiny, "one prompt", "another prompt"], "give several as --prompt"),
        ([tiny, "--prompts", str(aimed)], "line 2"),
        ([tiny, "--prompts", str(tmp_path / "none")], "cannot be read"),
        ([tiny, coarse, "The bridge", "--target", "no such token"], "no token is"),
    ):
        assert run(["compare", *arguments]) == 2, arguments
        told = capsys.readouterr().err
        assert word in told
        assert len(told.strip().splitlines()) == 1


def test_a_quantisation_expanded_to_float32_is_the_same(coarse: Model, tmp_path: Path) -> None:
    from ggufjac.quants import native
    from ggufjac.reader.expand import expand_f32

    path = tmp_path / "f32.gguf"
    expand_f32(coarse.file, path, native.dequantize)
    with Model.open(path) as twin, torch.no_grad():
        (change,) = compare([coarse, twin], [PROMPT], EXACT).changes
    assert change.network
    assert change.kl == pytest.approx(0, abs=1e-12)
    assert all(concept.cosine == pytest.approx(1) for concept in change.concepts)
    for shift in change.shifts:
        assert [t.after for t in shift.tokens] == pytest.approx([t.before for t in shift.tokens], abs=1e-9)
