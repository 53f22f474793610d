"""What lenses are used for: directions of tokens, swaps, comparisons, public files, and whether a lens fits a model."""

from __future__ import annotations

import argparse
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import IDS
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.lens import match
from ggufjac.analyses.lens.comparison import lens_compare
from ggufjac.analyses.lens.corpus import Corpus
from ggufjac.analyses.lens.exchange import BesideReading, Swap, Swapping
from ggufjac.analyses.lens.fit import fit
from ggufjac.analyses.lens.options import LensCompareOptions, LensFitOptions, LensSwapOptions, LensVectorsOptions
from ggufjac.analyses.lens.swap import lens_swap
from ggufjac.analyses.lens.vectors import lens_vectors, token_directions
from ggufjac.analyses.steer.influences import ControlVector
from ggufjac.analyses.table import load
from ggufjac.cli import models as models_command
from ggufjac.cli.lens import compare as compare_command
from ggufjac.cli.lens import swap as swap_command
from ggufjac.cli.lens import vectors as vectors_command
from ggufjac.cli.parser import Parser
from ggufjac.errors import UserError
from ggufjac.llamacpp.control import ControlFile
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.lens.lens import Lens, LensOrigin
from ggufjac.maps.lens.unembed import unembedded
from ggufjac.maps.model import Model
from ggufjac.network.texts import Reading, logits_of_texts
from ggufjac.registry import Places
from ggufjac.registry.lenses import REPOSITORY, PublicLens, chosen, lens_path, pull_lens
from tinymodels import make

#: An RMSNorm, one with 1 + w, LayerNorms with biases, and Granite's factors.
KINDS = ("llama", "gemma3", "gpt2", "qwen3", "granite")
PROMPT = IDS[:6]


def texts(n: int, length: int = 24) -> Corpus:
    draw = random.Random(3)
    return Corpus(tuple((1, *(draw.randrange(3, 320) for _ in range(length - 1))) for _ in range(n)), "random tokens")


def fitted(model: Model, path: Path | None = None, rules: str = "ordinary", n: int = 3, **how: object) -> Lens:
    options = LensFitOptions(prompts=n, length=24, skip=4, rules=rules)
    return fit(model, texts(n), replace(options, **how), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lenses")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Model]:
    with Model.open(make("llama", folder / "model.gguf", n_layer=4)) as opened:
        yield opened


@pytest.fixture(scope="module")
def other(folder: Path) -> Iterator[Model]:
    """The same architecture and shapes, other weights."""
    with Model.open(make("llama", folder / "other.gguf", n_layer=4, seed=5)) as opened:
        yield opened


@pytest.fixture(scope="module")
def lens_file(model: Model, folder: Path) -> Path:
    fitted(model, folder / "model.pt")
    return folder / "model.pt"


@pytest.fixture(scope="module")
def other_file(other: Model, folder: Path) -> Path:
    fitted(other, folder / "other.pt")
    return folder / "other.pt"


# --- directions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_direction_is_the_gradient_of_the_logit_through_the_frozen_norm(kind: str, tmp_path: Path) -> None:
    """By autograd, of the norm's own build at another state than the one that the weight is taken at."""
    with Model.open(make(kind, tmp_path / "m.gguf")) as m:
        lens = fitted(m, dtype="float64")
        layer, tokens = lens.layers[0], (42, 300)
        found = token_directions(m, lens, tokens, (layer, m.family.n_layer - 1), torch.float64)
        j = lens.jacobian(layer).double()
        h = torch.randn(1, m.family.d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        for at, matrix in ((layer, j), (m.family.n_layer - 1, torch.eye(len(j), dtype=torch.float64))):
            x = h.clone().requires_grad_()
            y = x @ matrix.mT
            centred = y - y.mean(-1, keepdim=True) if kind == "gpt2" else y
            rms = centred.detach().square().mean(-1, keepdim=True).sqrt()
            weight = m.family.source.vector("output_norm.weight", m.family.d).double()
            head = m.family.head_matrix().weight.dequantize(torch.float64)
            logits = (centred / rms * weight) @ head.mT
            for i, token in enumerate(tokens):
                (gradient,) = torch.autograd.grad(logits[0, token], x, retain_graph=True)
                torch.testing.assert_close(found[at][i], gradient[0] * rms[0, 0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_unembedding_is_the_models_own(kind: str, tmp_path: Path) -> None:
    with Model.open(make(kind, tmp_path / "m.gguf")) as m, torch.no_grad():
        done = m.run(IDS, torch.float64)
        logits = torch.cat(list(unembedded(m.family, done.run, done.states[-1])))
        torch.testing.assert_close(logits, done.logits, rtol=1e-12, atol=1e-12)


def test_a_token_is_what_its_direction_raises_most(model: Model, lens_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "control.gguf"
    made = lens_vectors(model, lens_file, LensVectorsOptions(tokens=(300,), export=str(target)))
    assert [row.layer for row in made.directions] == [1, 2]
    assert made.lens.own
    assert all(row.length == pytest.approx(1, abs=1e-5) and row.raises[0].id == 300 for row in made.directions)
    read = lens_vectors(model, lens_file, LensVectorsOptions(), target)
    assert [row.raises for row in read.directions] == [row.raises for row in made.directions]
    np.testing.assert_array_equal(made.arrays["directions"][0], ControlFile.read(target).directions[1])
    raw = lens_vectors(model, lens_file, LensVectorsOptions(tokens=(300,), scale="raw", layers=(0, 3)))
    v = token_directions(model, fitted(model), (300,), (0, 3))
    assert [row.length for row in raw.directions] == pytest.approx([float(v[at].norm()) for at in (0, 3)], rel=1e-2)


def test_centred_directions_are_the_gradient_above_the_mean_logit(model: Model, lens_file: Path) -> None:
    lens, everyone = fitted(model), range(model.family.n_vocab)
    whole = token_directions(model, lens, everyone, (1,), torch.float64)[1]
    centred = token_directions(model, lens, (300,), (1,), torch.float64, centred=True)[1]
    torch.testing.assert_close(centred[0], whole[300] - whole.mean(0))
    made = lens_vectors(model, lens_file, LensVectorsOptions(tokens=(300,), centred=True))
    assert made.centred
    assert all(row.raises[0].id == 300 for row in made.directions)


def test_llama_cpp_is_moved_by_the_vectors_as_the_model_here(model: Model, lens_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "control.gguf"
    lens_vectors(model, lens_file, LensVectorsOptions(tokens=(300,), export=str(target), scale="unit"))
    directions = {layer: 30 * v for layer, v in ControlFile.read(target).directions.items()}
    vectors = ControlVector(model.family, {layer: torch.from_numpy(v) for layer, v in directions.items()})
    (ours,) = logits_of_texts(model.family, torch.tensor([IDS]), torch.float32, influence=lambda _: vectors)
    with Runner(model.file.path, 64, kv="f32", threads=1) as runner:
        before = runner.logits(IDS, all_positions=True)
        runner.steer(directions)
        theirs = runner.logits(IDS, all_positions=True)
    assert np.abs(ours[0].numpy() - theirs).max() < 1e-4 * before.std()
    assert (theirs - before)[:, 300].min() > before.std(), "the token becomes likelier everywhere"


# --- swaps ------------------------------------------------------------------------------------------------------


def pair(seed: int = 0, width: int = 64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    v, w = torch.randn(2, width, dtype=torch.float64, generator=draw)
    return 3 * v, w + v  # of unequal lengths, and far from orthogonal


def test_a_swap_exchanges_coordinates_and_leaves_the_rest_alone() -> None:
    v, w = pair()
    swap, everywhere = Swap(v, w), torch.ones(5, dtype=torch.bool)
    h = torch.randn(2, 5, 64, dtype=torch.float64)
    once = swap.exchanging(h, everywhere).apply(h)
    torch.testing.assert_close(swap.coordinates(once), swap.coordinates(h).flip(-1))
    torch.testing.assert_close(swap.exchanging(once, everywhere).apply(once), h)
    torch.testing.assert_close(once.norm(dim=-1), h.norm(dim=-1))
    beside = torch.linalg.svd(torch.stack((v, w)), full_matrices=True)[2][2:]
    torch.testing.assert_close(once @ beside.mT, h @ beside.mT)
    mirrored = v / v.norm() - w / w.norm()
    torch.testing.assert_close(once, h - 2 * (h @ mirrored)[..., None] * mirrored / (mirrored @ mirrored))


def test_a_token_swapped_with_itself_changes_nothing() -> None:
    v, _ = pair()
    h = torch.randn(1, 5, 64, dtype=torch.float64)
    torch.testing.assert_close(Swap(v, 2 * v).exchanging(h, torch.ones(5)).apply(h), h)


def test_only_chosen_positions_are_swapped() -> None:
    swap, h = Swap(*pair()), torch.randn(1, 5, 64, dtype=torch.float64)
    chosen_ones = torch.arange(5) >= 3
    changed = (swap.exchanging(h, chosen_ones).apply(h) - h).abs().sum(-1)[0] > 0
    assert changed.tolist() == chosen_ones.tolist()


def test_held_coordinates_are_those_of_the_plain_model_exchanged(model: Model, lens_file: Path) -> None:
    """At every block, whatever the blocks before made of them; and the one beside is left alone."""
    lens = fitted(model)
    swaps = {at: Swap(*v) for at, v in token_directions(model, lens, (300, 42), lens.layers, torch.float64).items()}
    swapping, seen = Swapping(swaps, 2, held=True), {}

    class Spy(Swapping):
        def __init__(self) -> None:
            super().__init__(swaps, 2, held=True)

        def edit(self, layer: int, state: Tensor) -> object:  # type: ignore[override]
            op = swapping.edit(layer, state)
            seen[layer] = state if op is None else op.apply(state, 1.0)
            return op

        def advance(self, tokens: Tensor) -> None:
            swapping.advance(tokens)

    BesideReading(model.family, 32, torch.float64, influence=Spy()).read(torch.tensor([PROMPT]))
    plain = model.run(PROMPT, torch.float64).states
    for layer in lens.layers:
        torch.testing.assert_close(seen[layer][0], plain[layer + 1], rtol=1e-9, atol=1e-9)
        c = swaps[layer].coordinates(seen[layer])
        torch.testing.assert_close(c[1, 2:], c[0, 2:].flip(-1))
        torch.testing.assert_close(c[1, :2], c[0, :2])


@pytest.mark.parametrize("how", ["clamp", "exchange"])
def test_a_swapped_text_and_its_price(model: Model, lens_file: Path, how: str, tmp_path: Path) -> None:
    options = LensSwapOptions(tokens=5, how=how, dtype="float64")  # type: ignore[arg-type]
    s = lens_swap(model, PROMPT, lens_file, 300, 42, options)
    assert s.price == pytest.approx(s.swapped.likelihood - s.plain.likelihood)
    assert s.plain.likelihood == pytest.approx(s.plain.own)
    assert s.divergence > 0
    logits = model.run(PROMPT, torch.float64).logits[-1].log_softmax(-1)
    assert s.predictions[0].token.id == int(logits.argmax())
    last = lens_swap(model, PROMPT, lens_file, 300, 42, replace(options, start=-1))
    assert last.start == len(PROMPT) - 1
    assert last.divergence != s.divergence
    s.save(tmp_path / "swap.safetensors")
    assert load(tmp_path / "swap.safetensors") == s


def test_at_one_block_both_ways_begin_alike(model: Model, lens_file: Path) -> None:
    """Behind one block, at the last position alone, nothing was swapped before."""
    both = [
        lens_swap(model, PROMPT, lens_file, 300, 42, LensSwapOptions(layers=(1,), start=-1, tokens=1, how=how))
        for how in ("clamp", "exchange")
    ]
    assert both[0].divergence == pytest.approx(both[1].divergence, rel=1e-4)


def test_a_reading_beside_reads_as_alone(model: Model) -> None:
    alone = Reading(model.family, 32).read(torch.tensor([PROMPT]))
    torch.testing.assert_close(BesideReading(model.family, 32).read(torch.tensor([PROMPT])), alone)


# --- comparisons ------------------------------------------------------------------------------------------------


def test_a_lens_beside_itself_and_another(model: Model, other: Model, lens_file: Path, other_file: Path) -> None:
    same = lens_compare(lens_file, lens_file, model)
    assert same.same_texts
    for row in same.layers:
        assert row.difference == 0
        assert row.cosine == pytest.approx(1)
        assert not row.beyond
        assert row.reading is not None
        assert row.reading.first == row.reading.shared == 1
    apart = lens_compare(lens_file, other_file, model, other)
    assert all(row.beyond and row.reading is not None and row.reading.first < 0.5 for row in apart.layers)
    assert lens_compare(lens_file, other_file).layers[0].reading is None


def test_the_numbers_are_those_of_dense_algebra_and_noise_is_told_from_more(model: Model, folder: Path) -> None:
    draw = random.Random(11)
    drawn = [(1, *(draw.randrange(3, 320) for _ in range(23))) for _ in range(12)]
    options = LensFitOptions(prompts=6, length=24, skip=4)
    halves = [fit(model, Corpus(tuple(part), "random"), options) for part in (drawn[:6], drawn[6:])]
    files = [folder / "half0.safetensors", folder / "half1.safetensors"]
    for lens, path in zip(halves, files, strict=True):
        lens.save(path)
    found = lens_compare(*files)
    assert not found.same_texts
    for row in found.layers:
        a, b = (lens.jacobian(row.layer) for lens in halves)
        assert row.difference == pytest.approx(float((a - b).norm() / a.norm()), rel=1e-2)
        assert row.ratio == pytest.approx(float(b.norm() / a.norm()), rel=1e-2)
        assert row.error_a == pytest.approx(halves[0].standard_error(row.layer), rel=1e-2)
        assert not row.beyond, "two halves of one corpus differ by their noise"
        assert row.difference == pytest.approx(row.noise, rel=0.4)
    detached = fitted(model, folder / "detached.pt", rules="detached", n=6)
    assert all(row.difference > 0 for row in lens_compare(files[0], folder / "detached.pt").layers)
    assert detached.origin.rules == "detached"


def test_only_blocks_of_both(model: Model, lens_file: Path, folder: Path) -> None:
    fitted(model, folder / "some.pt", layers=(1,))
    assert [row.layer for row in lens_compare(lens_file, folder / "some.pt").layers] == [1]
    with pytest.raises(UserError, match="not both lenses have a matrix of block 2; both have 1"):
        lens_compare(lens_file, folder / "some.pt", options=LensCompareOptions(layers=(2,)))


# --- whether a lens fits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt2"])
@pytest.mark.parametrize("rules", ["ordinary", "detached"])
def test_lenses_of_other_weights_are_told_from_ones_own(kind: str, rules: str, tmp_path: Path) -> None:
    """The threshold lies half way; the cosines that it was chosen by are here."""
    paths = [make(kind, tmp_path / f"{seed}.gguf", seed=seed) for seed in (1, 2)]
    with Model.open(paths[0]) as one, Model.open(paths[1]) as two:
        lens = fitted(one, rules=rules)
        assert match.agreement(lens, one) > 2 * match.ALIKE
        assert match.fits(lens, one) == match.agreement(lens, one)
        assert abs(match.agreement(lens, two)) < match.ALIKE / 2
        with pytest.raises(UserError, match=r"this is no lens of 2\.gguf: .*cosine of -?0\.\d\d"):
            match.fits(lens, two)


def test_a_file_from_elsewhere_is_tried_and_one_of_this_file_not(model: Model, lens_file: Path, folder: Path) -> None:
    assert match.opened_lens(lens_file, model)[1].fit is None
    public = folder / "public.pt"
    lens = fitted(model)
    torch.save({"J": {k: j.half() for k, j in lens.jacobians.items()}, "n_prompts": 3, "d_model": lens.d_model}, public)
    found = match.opened_lens(public, model)[1]
    assert not found.own
    assert found.fit is not None
    assert found.fit > 2 * match.ALIKE


def test_other_shapes_are_refused_before_anything_is_computed(model: Model, lens_file: Path, tmp_path: Path) -> None:
    lens = fitted(model)
    narrow = Lens({0: torch.eye(8)}, 1)
    with pytest.raises(UserError, match=r"streams of width 8; model\.gguf has 4 blocks of width"):
        match.fits(narrow, model)
    unnamed = replace(lens, origin=LensOrigin())
    for layers, blocks in (((0, 1), 3), ((0, 1, 2, 3), 5)):
        wrong = replace(unnamed, jacobians={at: lens.jacobian(min(at, 2)) for at in layers}, squares={})
        with pytest.raises(UserError, match=f"a lens of a model with {blocks} blocks"):
            match.fits(wrong, model)


# --- public lenses ----------------------------------------------------------------------------------------------

KNOWN = [
    PublicLens("qwen3-8b/jlens/Salesforce-wikitext/Qwen3-8B_jacobian_lens.pt", 9),
    PublicLens("qwen3.6-27b/jlens/Salesforce-wikitext/Qwen3.6-27B_jacobian_lens.pt", 9),
    PublicLens("qwen3.6-27b/jlens/Salesforce-wikitext/Qwen3.6-27B_jacobian_lens_n1000.pt", 9),
    PublicLens("gpt2-small/jlens/one/gpt2_jacobian_lens.pt", 9),
    PublicLens("gpt2-small/jlens/two/gpt2_jacobian_lens.pt", 9),
]


def test_names_are_matched_with_what_the_hub_lists() -> None:
    assert chosen("qwen3-8b", KNOWN) is KNOWN[0]
    assert chosen("Qwen3.6-27B", KNOWN) is KNOWN[2], "the one of the most texts"
    assert chosen("gpt2-small/jlens/two", KNOWN) is KNOWN[4]
    assert chosen(KNOWN[1].file, KNOWN) is KNOWN[1]
    with pytest.raises(UserError, match="means several: lens:gpt2-small/jlens/one, lens:gpt2-small/jlens/two"):
        chosen("gpt2-small", KNOWN)
    with pytest.raises(UserError, match=rf"hf\.co/{REPOSITORY} has no lens of 'qwen3-9b'; it has qwen3-8b"):
        chosen("qwen3-9b", KNOWN)


class FakeHub:
    """A cache as huggingface_hub keeps it."""

    def __init__(self, folder: Path, content: bytes) -> None:
        self.folder, self.content, self.asked = folder, content, 0

    def __call__(self, *, repo_id: str, filename: str, revision: str | None, force_download: bool) -> str:
        assert repo_id == REPOSITORY
        self.asked += 1
        blob, link = self.folder / "blob", self.folder / "link.pt"
        for old in (blob, link):  # replaced as a whole, as the hub does
            old.unlink(missing_ok=True)
        blob.write_bytes(self.content)
        link.symlink_to(blob)
        return str(link)


def test_a_public_lens_is_pulled_checked_and_then_there(lens_file: Path, tmp_path: Path, model: Model) -> None:
    places = Places(home=tmp_path / "home", ollama=(), lmstudio=(), hub=tmp_path)
    content = lens_file.read_bytes()
    known = [replace(KNOWN[0], size=len(content), sha256=hashlib.sha256(content).hexdigest())]
    hub = FakeHub(tmp_path, content)
    with pytest.raises(UserError, match="lens:qwen3-8b is not on this disk yet: run `ggufjac pull lens:qwen3-8b`"):
        lens_path("lens:qwen3-8b", places)
    pulled = pull_lens("lens:qwen3-8b", places, listing=lambda: known, download=hub)
    assert (pulled.fresh, pulled.checked, pulled.size) == (True, True, len(content))
    assert pulled.path.is_relative_to(places.models)
    assert lens_path("lens:Qwen3-8B", places) == pulled.path
    assert match.opened_lens(pulled.path, model)[1].own
    assert not pull_lens("lens:qwen3-8b", places, listing=lambda: known, download=hub).fresh
    assert hub.asked == 1
    assert [p.name for p in pulled.path.parent.iterdir()] == ["Qwen3-8B_jacobian_lens.pt"]
    hub.content = content[:-1] + b"\1"
    with pytest.raises(UserError, match="another sha256 than the hub says; it was removed"):
        pull_lens("lens:qwen3-8b", places, force=True, listing=lambda: known, download=hub)
    assert pulled.path.read_bytes() == content
    assert not (tmp_path / "blob").exists()


@pytest.mark.parametrize("name", ["lens:", "lens:../x", "lens:a\\b"])
def test_names_that_name_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no lens; write for example lens:qwen3-8b"):
        pull_lens(name, Places(home=tmp_path, ollama=(), lmstudio=(), hub=tmp_path))


def test_without_a_network_there_is_one_line(tmp_path: Path) -> None:
    def listing() -> list[PublicLens]:
        raise ConnectionError("refused")

    with pytest.raises(UserError, match=r"lens:x: huggingface.co cannot be reached \(ConnectionError\)") as caught:
        pull_lens("lens:x", Places(home=tmp_path, ollama=(), lmstudio=(), hub=tmp_path), listing=listing)
    assert "\n" not in str(caught.value)


# --- commands ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run() -> Callable[..., int]:
    """The commands as `ggufjac lens` has them."""

    def call(*words: str) -> int:
        top = Parser(prog="ggufjac lens")
        commands = top.add_subparsers(required=True)
        for module in (swap_command, vectors_command, compare_command, models_command):
            module.add_parsers(commands)
        args: argparse.Namespace = top.parse_args(words)
        status: int = args.execute(args)
        return status

    return call


def test_commands(
    run: Callable[..., int],
    model: Model,
    lens_file: Path,
    other_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, control = str(model.file.path), tmp_path / "control.gguf"
    swapped = ("swap", path, "in the bridge", "--lens", str(lens_file), "--from", "#300", "--to", "#42")
    assert run(*swapped, "--tokens", "3", "--json", str(tmp_path / "swap.json")) == 0
    assert "exchanged and held at every position" in capsys.readouterr().out
    assert run("vectors", path, "--lens", str(lens_file), "--token", "#300", "--export", str(control)) == 0
    assert run("vectors", path, "--lens", str(lens_file), "--read", str(control)) == 0
    assert "the vectors of the file" in capsys.readouterr().out
    assert run("compare", str(lens_file), str(other_file)) == 0
    assert "●" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("swap {m} x --lens {l} --from #300 --to #300", "are one token"),
        ("swap {m} x --lens {l} --from rugby --to #300", "--from: no token is 'rugby'"),
        ("swap {m} x --lens {l} --from #300 --to #9999", "--to: there is no token 9999"),
        ("swap {m} x --lens {o} --from #300 --to #42", r"other.pt: this is no lens of model.gguf"),
        ("swap {m} x --lens none.pt --from #300 --to #42", "none.pt: there is no such file"),
        ("swap {m} x --lens lens:none --from #300 --to #42", "lens:none is not on this disk yet"),
        ("swap {m} x --from #300 --to #42", "--lens is missing"),
        ("swap {m} x --lens {l} --from #300 --to #42 --layers 7", "the lens has no matrix of block 7; it has"),
        ("swap {m} x --lens {l} --from #300 --to #42 --from-position 90", "there is no position 90; the prompt has"),
        ("swap {m} x --lens {l} --from #300 --to #42 --tokens 9999", "do not fit the model's context"),
        ("vectors {m} --lens {l}", "give either tokens whose directions are wanted"),
        ("vectors {m} --lens {l} --read {m}", "this is no control vector"),
        ("vectors {m} --lens {l} --token #300 --layers 0 --export x.gguf", "no control vector to layer 0"),
        ("vectors {m} --lens {l} --token #300 --layers 9", "there is no block 9; the model has blocks 0 to 3"),
        ("vectors {m} --lens {l} --read x --export y", "--read and --export are two things"),
        ("compare {l} {m}", "this is no lens that can be read"),
        ("compare {l} {l} --model-b {m}", "--model-b goes with a MODEL"),
    ],
)
def test_bad_input_is_one_line(
    run: Callable[..., int],
    words: str,
    told: str,
    model: Model,
    lens_file: Path,
    other_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"m": str(model.file.path), "l": str(lens_file), "o": str(other_file)}
    with pytest.raises(UserError, match=told) as caught:
        run(*(word.format(**named) for word in words.split()))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_results_have_every_view(model: Model, lens_file: Path) -> None:
    made: list[Result] = [
        lens_swap(model, PROMPT, lens_file, 300, 42, LensSwapOptions(tokens=2)),
        lens_vectors(model, lens_file, LensVectorsOptions(tokens=(300,))),
        lens_compare(lens_file, lens_file, model),
    ]
    for result in made:
        assert "lens" in result.page()
        assert result.pictures()
