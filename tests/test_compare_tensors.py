"""From one quantisation to another, tensor by tensor: sums, ends, what is put back, and the first order."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import IDS, printed
from ggufjac import api
from ggufjac.analyses.common.agreement import kl_divergence
from ggufjac.analyses.compare import following
from ggufjac.analyses.compare.tensors import TensorComparison, compare_tensors
from ggufjac.analyses.options import CompareTensorsOptions
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.network.firstorder import first_order
from ggufjac.network.tensorwise import Hybrids
from ggufjac.reader import GGUFFile
from tinymodels import make

PROMPT = IDS[:7]
CPU = torch.device("cpu")
#: Heads that are the embeddings and heads of their own; fused matrices; experts; recurrences; layers that leave
#: something for later ones, read tensors of all layers, are passed twice, or share adapters.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "llama tied": {"rope_freqs": True, "tied": True},
    "gemma3": {},
    "phi3": {},
    "qwen3moe": {},
    "gpt2": {},
    "gemma3n": {},
    "granitehybrid": {},
    "rwkv7": {},
    "deepseek2": {},
    "graniteswitch": {},
    "nanbeige": {"loops": 2},
}


def coarse_types(path: Path, *fine: str) -> dict[str, str]:
    """A coarser type for every tensor of floats, but for those that stay fine."""
    with GGUFFile.open(path) as file:
        return {
            name: "Q4_0" if len(info.plain_shape) > 1 and info.plain_shape[-1] % 32 == 0 else "BF16"
            for name, info in file.tensors.items()
            if info.type.name == "F32" and name not in fine
        }


def pair(folder: Path, family: str = "llama", *fine: str, **overrides: Any) -> tuple[Path, Path]:
    """A tiny model in float32, and the same with coarser tensors."""
    one, other = folder / "one.gguf", folder / "other.gguf"
    make(family, one, **overrides)
    make(family, other, packed=coarse_types(one, *fine), **overrides)
    return one, other


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def models(paths: tuple[Path, Path]) -> Iterator[tuple[Model, Model]]:
    with Model.open(paths[0]) as one, Model.open(paths[1]) as other:
        yield one, other


@pytest.fixture(scope="module")
def result(models: tuple[Model, Model]) -> TensorComparison:
    return compare_tensors(*models, [PROMPT, IDS[3:9]], CompareTensorsOptions(dtype="float64"))


def kl_between(one: Model, other: Model, ids: list[int]) -> float:
    a, b = (model.run(ids, torch.float64).logits[-1] for model in (one, other))
    return kl_divergence(a, b)


@pytest.mark.parametrize("name", FAMILIES)
def test_hybrids_lead_from_the_one_file_to_the_other(name: str, tmp_path: Path) -> None:
    """The first is the one's own run and the last the other's, at any positions, in every kind of network."""
    one, other = pair(tmp_path, name.split()[0], **FAMILIES[name])
    with Model.open(one) as a, Model.open(other) as b, torch.no_grad():
        hybrids = Hybrids(a.family, b.family)
        ours, theirs = (model.run(PROMPT, torch.float64).logits for model in (a, b))
        scale = float(ours.abs().max())
        assert float((ours - theirs).abs().max()) > 1e-3 * scale
        for rows in ((6,), (0, 3, 4)):
            found = list(hybrids.finals(PROMPT, rows, torch.float64, CPU))
            logits = [finals.logits(slice(None)) for finals in found]
            assert [name for finals in found for name in finals.names] == list(hybrids.names)
            assert float((logits[0][0] - ours[list(rows)]).abs().max()) < 1e-12 * scale
            assert float((logits[-1][-1] - theirs[list(rows)]).abs().max()) < 1e-12 * scale
        assert {*hybrids.names, *hybrids.idle} == set(coarse_types(one))


def test_a_hybrid_is_the_network_with_the_tensors_so_far(models: tuple[Model, Model]) -> None:
    one, other = models
    with torch.no_grad():
        hybrids = Hybrids(one.family, other.family)
        logits = torch.cat(
            [finals.logits(slice(None))[:, 0] for finals in hybrids.finals(PROMPT, (6,), torch.float64, CPU)]
        )
        for n in (1, 9, len(hybrids.names) - 1):
            mixed = Model(one.file, hybrids.mixed(hybrids.names[:n]))
            torch.testing.assert_close(logits[n], mixed.run(PROMPT, torch.float64).logits[-1])


def test_terms_add_up_to_the_whole_change(result: TensorComparison, models: tuple[Model, Model]) -> None:
    kl = [kl_between(*models, ids) for ids in (PROMPT, IDS[3:9])]
    assert [prompt.kl for prompt in result.prompts] == pytest.approx(kl, abs=1e-12)
    assert math.fsum(term.kl for term in result.tensors) == pytest.approx(sum(kl) / 2, abs=1e-9)
    ln_p = math.fsum(term.ln_p for term in result.tensors)
    assert ln_p == pytest.approx(result.ln_p_other - result.ln_p_one, abs=1e-9)
    assert math.fsum(term.logit for term in result.tensors) == pytest.approx(result.logit_other - result.logit_one)
    assert max(map(abs, result.missing)) < 1e-9
    for groups in (result.layers, result.kinds, result.types):
        assert math.fsum(group.kl for group in groups) == pytest.approx(result.kl, abs=1e-12)
        assert sorted(name for group in groups for name in group.tensors) == sorted(t.name for t in result.tensors)


def test_terms_add_up_in_float32(models: tuple[Model, Model]) -> None:
    result = compare_tensors(*models, [PROMPT], CompareTensorsOptions(top=1))
    assert max(map(abs, result.missing)) < 1e-5
    assert result.kl > 1e-4


def test_what_is_followed(result: TensorComparison, models: tuple[Model, Model]) -> None:
    logits = models[0].run(PROMPT, torch.float64).logits[-1]
    answer = result.prompts[0].answer
    assert answer is not None
    assert answer.id == int(logits.argmax())
    assert result.prompts[0].ln_p_one == pytest.approx(float(logits.log_softmax(-1)[answer.id]))
    named = compare_tensors(*models, [PROMPT], CompareTensorsOptions(dtype="float64", target=42, top=1))
    other = models[1].run(PROMPT, torch.float64).logits[-1]
    assert named.prompts[0].logit_other == pytest.approx(float(other[42]))


def test_every_position_of_a_text(models: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PIECE", 6)
    monkeypatch.setattr(following, "SCORES", 2 * models[0].family.n_vocab)  # two positions at a time
    how = CompareTensorsOptions(dtype="float64", positions="all", tokens=10, top=1)
    result = compare_tensors(*models, [IDS], how)
    pieces = [IDS[:6], IDS[:1] + IDS[6:10]]  # BOS before the second one too
    kl, ln_p = [], []
    for ids in pieces:
        a, b = (model.run(ids, torch.float64).logits[:-1] for model in models)
        kl += [kl_divergence(*rows) for rows in zip(a, b, strict=True)]
        ln_p += [float(row.log_softmax(-1)[token]) for row, token in zip(b, ids[1:], strict=True)]
    assert result.n_positions == len(kl) == 9
    assert result.arrays["kl.positions"].tolist() == pytest.approx(kl)
    assert result.kl == pytest.approx(sum(kl) / 9)
    assert result.ln_p_other == pytest.approx(sum(ln_p) / 9)
    assert result.prompts[0].answer is None
    assert max(map(abs, result.missing)) < 1e-9


def test_what_is_put_back_is_a_file_that_has_it(
    result: TensorComparison, paths: tuple[Path, Path], models: tuple[Model, Model], tmp_path: Path
) -> None:
    best = max(result.tensors, key=lambda term: term.kl)
    assert result.put_back[0].group == best.name
    path = make("llama", tmp_path / "kept.gguf", packed=coarse_types(paths[0], best.name))
    with Model.open(path) as kept:
        kl = sum(kl_between(models[0], kept, ids) for ids in (PROMPT, IDS[3:9])) / 2
    assert result.put_back[0].kl == pytest.approx(kl, abs=1e-12)
    assert result.put_back[0].regained == pytest.approx(result.kl - kl, abs=1e-12)
    assert result.put_back[0].bytes == path.stat().st_size - paths[1].stat().st_size


def test_equal_tensors_are_not_run(tmp_path: Path) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    make("llama", one)
    make("llama", other, packed={"blk.1.ffn_down.weight": "Q4_0"})
    with Model.open(one) as a, Model.open(other) as b:
        result = compare_tensors(a, b, [PROMPT], CompareTensorsOptions(dtype="float64"))
        (term,) = result.tensors
        assert (term.name, term.layer, term.part) == ("blk.1.ffn_down.weight", 1, "ffn_down")
        assert term.kl == pytest.approx(kl_between(a, b, PROMPT), abs=1e-12)
        assert result.equal == len(a.file.tensors) - 1
        assert [each.regained for each in result.put_back] == pytest.approx([result.kl])


@pytest.mark.parametrize("by", ["layer", "type"])
def test_layers_and_types_are_ranked_and_put_back(by: str, models: tuple[Model, Model]) -> None:
    result = compare_tensors(*models, [PROMPT], CompareTensorsOptions(dtype="float64", by=by, top=2))
    groups = result.layers if by == "layer" else result.kinds
    worst = max(groups, key=lambda group: group.kl)
    assert result.put_back[0].tensors == worst.tensors
    family = Hybrids(models[0].family, models[1].family).mixed(
        [term.name for term in result.tensors if term.name not in worst.tensors]
    )
    assert result.put_back[0].kl == pytest.approx(kl_between(models[0], Model(models[0].file, family), PROMPT))
    assert result.put_back[-1].group == "all of these"
    assert worst.name in printed(result, 100)


# --- the first order ------------------------------------------------------------------------------------------------


def nudged(source: Path, target: Path, size: float) -> Path:
    """The same model, every tensor of which has moved by so much of its own size, at random."""
    shutil.copy(source, target)
    generator = np.random.default_rng(0)
    with GGUFFile.open(source) as file:
        for info in file.tensors.values():
            values = np.memmap(target, np.float32, "r+", info.offset, info.nbytes // 4)
            values += size * values.std() * generator.standard_normal(len(values)).astype(np.float32)
            values.flush()
    return target


@pytest.mark.parametrize("name", ["llama", "llama tied", "gemma3", "phi3", "qwen3moe", "granitehybrid", "gemma3n"])
def test_the_first_order_is_what_small_changes_do(name: str, tmp_path: Path) -> None:
    """It is off by what is of second order: nudges of half the size, a quarter of the error."""
    one = make(name.split()[0], tmp_path / "one.gguf", **FAMILIES[name])
    errors = []
    for size in (2e-4, 1e-4):
        other = nudged(one, tmp_path / f"{size}.gguf", size)
        with Model.open(one) as a, Model.open(other) as b, torch.no_grad():
            hybrids = Hybrids(a.family, b.family)

            def numbers(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
                return logits[:, 42].mean(), logits.log_softmax(-1)[:, 300].mean()

            foretold = first_order(hybrids, PROMPT, (2, 6), numbers, torch.float64, CPU)
            found = [
                torch.stack(numbers(row))
                for finals in hybrids.finals(PROMPT, (2, 6), torch.float64, CPU)
                for row in finals.logits(slice(None))
            ]
            moves = torch.stack(found).diff(dim=0)
        known = ~foretold.isnan().any(1)
        names = [n for n, k in zip(hybrids.names, known.tolist(), strict=True) if k]
        assert {"token_embd.weight", "blk.1.ffn_norm.weight"} & set(names) == {"token_embd.weight"}
        assert len(names) >= len(hybrids.names) // 3
        errors.append(float((moves - foretold)[known].norm()))
        assert errors[-1] < 0.01 * float(moves[known].norm())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)


def test_the_first_order_stands_beside_the_terms(result: TensorComparison) -> None:
    known = [term for term in result.tensors if not math.isnan(term.first_ln_p)]
    assert {"token_embd", "attn_q", "ffn_down", "output"} <= {term.part for term in known}
    for fit, of in zip(result.first_order, ("logit", "ln_p"), strict=True):
        pairs = np.array([(getattr(term, of), getattr(term, f"first_{of}")) for term in known])
        assert fit.correlation == pytest.approx(np.corrcoef(pairs.T)[0, 1])
        assert fit.off == pytest.approx(np.abs(pairs[:, 0] - pairs[:, 1]).max())
        assert fit.worst == known[int(np.abs(pairs[:, 0] - pairs[:, 1]).argmax())].name


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_and_its_status(
    paths: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", *map(str, paths), "the bridge", "a cat sat", "--by", "tensor", "--dtype", "float64"]
    assert run([*words, "--fail-above", "1e9", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "ggufjac.tensor-comparison/1"
    assert len(told["prompts"]) == 2
    saved = tmp_path / "result.safetensors"
    assert run([*words, "--fail-above", "0", "--save", str(saved)]) == 1
    out = capsys.readouterr().out
    assert "above the 0 that are allowed" in out
    assert "keep" in out
    assert "Put back" in out
    again = load(saved)
    assert isinstance(again, TensorComparison)
    assert again.exceeds
    assert again.kl == pytest.approx(told["kl"])
    assert again.arrays["kl"].shape == (2, len(again.tensors) + 1)


def test_a_text_is_followed_at_every_position(
    paths: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the bridge out of the town\nand the river")
    words = ["compare", *map(str, paths), "--prompt-file", str(text), "--by", "type", "--tokens", "12", "--json", "-"]
    assert run(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["positions"], told["n_positions"], told["prompts"][0]["n_tokens"]) == ("all", 11, 12)
    assert run([*words, "--positions", "last"]) == 0
    assert json.loads(capsys.readouterr().out)["n_positions"] == 1


def test_from_python(paths: tuple[Path, Path]) -> None:
    result = api.compare_tensors(*paths, PROMPT, by="layer", top=1)
    assert result.by == "layer"
    assert len(result.prompts) == 1
    with pytest.raises(UserError, match="did you mean 'positions'"):
        api.compare_tensors(*paths, PROMPT, position="all")
    with pytest.raises(UserError, match="by: 'head' is not supported; use tensor, layer, type"):
        api.compare_tensors(*paths, PROMPT, by="head")
    with pytest.raises(UserError, match="there is no prompt"):
        api.compare_tensors(*paths, [])


def other_vocabulary(source: Path, target: Path) -> Path:
    with GGUFFile.open(source) as file:
        token = file.metadata["tokenizer.ggml.tokens"][300].encode()
    held = source.read_bytes()
    entry = struct.pack("<Q", len(token)) + token
    assert entry in held
    target.write_bytes(held.replace(entry, entry[:8] + b"~" + entry[9:], 1))
    return target


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda one, at: make("gemma3", at), "the architecture is llama and gemma3"),
        (lambda one, at: make("llama", at, n_ff=768), "llama.feed_forward_length is"),
        (lambda one, at: make("llama", at, n_layer=3), "llama.block_count is"),
        (
            lambda one, at: make("llama", at, keys={"rope.freq_base": 500.0}),
            "llama.rope.freq_base is 10000.0 and 500.0",
        ),
        (lambda one, at: make("llama", at, tied=True), "only .* has the tensor 'output.weight'"),
        (other_vocabulary, "their vocabularies differ"),
        (lambda one, at: one, "was given twice"),
        (lambda one, at: Path(shutil.copy(one, at)), "have the same weights"),
    ],
    ids=["architecture", "size", "layers", "key", "tensor", "vocabulary", "same file", "same weights"],
)
def test_other_models_are_refused(
    made: Callable[[Path, Path], Path], said: str, paths: tuple[Path, Path], tmp_path: Path
) -> None:
    other = made(paths[0], tmp_path / "other.gguf")
    with pytest.raises(UserError, match=said) as refused:
        api.compare_tensors(paths[0], other, PROMPT)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ONE", "--by", "tensor"], "needs two quantisations of one model"),
        (["ONE", "OTHER", "--by", "tensor"], "there is no prompt"),
        (["ONE", "OTHER", "ONE", "--by", "tensor"], "is a third model"),
        (["ONE", "no such model", "a", "--by", "tensor"], "no such model"),
        (["ONE", "OTHER", "", "--by", "tensor"], "the prompt is empty"),
        (["ONE", "OTHER", "--prompt-file", "EMPTY", "--by", "tensor"], "the prompt is empty"),
        (["ONE", "OTHER", "--prompts", "EMPTY", "--by", "tensor"], "prompt"),
        (["ONE", "OTHER", "a cat", "--by", "tensor", "--positions", "all", "--target", "#5"], "last position alone"),
        (["ONE", "OTHER", "a cat", "--by", "tensor", "--rules", "lrp"], "without any"),
        (["ONE", "OTHER", "a cat", "--by", "tensor", "--run", "llama.cpp"], "exact arithmetic alone"),
        (["ONE", "OTHER", "a cat", "--by", "tensor", "--target", "#99999"], "there is no token 99999"),
        (["ONE", "OTHER", "a cat", "--by", "head"], "'head' is not among tensor, layer, type"),
        (["ONE", "OTHER", "a cat", "--by", "tensor", "--fail-above", "-1"], "give 0 or more"),
        (["ONE", "OTHER", "a cat", "--fail-above", "1"], "--fail-above goes with --by"),
        (["ONE", "OTHER", "a cat", "--positions", "all"], "--positions goes with --by"),
    ],
)
def test_bad_input(
    words: list[str], said: str, paths: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    named = {"ONE": str(paths[0]), "OTHER": str(paths[1]), "EMPTY": str(empty)}
    assert run(["compare", *(named.get(word, word) for word in words)]) == 2
    caught = capsys.readouterr()
    assert said in caught.err
    assert not caught.out
    assert len(caught.err.strip().splitlines()) == 1


def test_a_token_alone_has_no_next_one(models: tuple[Model, Model]) -> None:
    with pytest.raises(UserError, match="prompt 2 has one token"):
        compare_tensors(*models, [PROMPT, [5]], CompareTensorsOptions(positions="all"))
