"""Fits of lenses: the mean that they compute, what ends them on their way, and what they refuse."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ggufjac
from conftest import PATIENCE
from ggufjac import atomic
from ggufjac.analyses.lens.corpus import Corpus, corpus_of, own_words
from ggufjac.analyses.lens.fit import fit, text_jacobians
from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.batch.documents import read_documents
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.lens.files import load_lens
from ggufjac.maps.lens.lens import Lens, LensSum
from ggufjac.maps.model import Model
from ggufjac.registry.lock import locked
from ggufjac.reports.fitting import ROUNDED
from tinymodels import make

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and places of POSIX")
LENGTH, SKIP = 12, 3


def how(**more: object) -> LensFitOptions:
    return LensFitOptions(**{"prompts": 4, "length": LENGTH, "skip": SKIP, "dtype": "float64", **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("llama", tmp_path_factory.mktemp("fit") / "tiny.gguf", n_layer=3)


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[Model]:
    with Model.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def corpus(model: Model) -> Corpus:
    documents = [[(7 * i * k + 3 * i) % model.family.n_vocab for i in range(LENGTH)] for k in range(1, 7)]
    return corpus_of(model, documents, "six texts", length=LENGTH, skip=SKIP)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A model with a template, which refuses one role."""
    source = (
        "{% for m in messages %}{% if m.role == 'refused' %}{{ raise_exception('this role') }}{% endif %}"
        "{{ m.role }}: {{ m.content }}\n{% endfor %}"
    )
    place = tmp_path_factory.mktemp("chatty") / "tiny.gguf"
    with Model.open(make("llama", place, n_layer=2, texts={"tokenizer.chat_template": source})) as opened:
        yield opened


def equal(found: Lens, right: Lens, share: float = 2e-3) -> None:
    assert (found.n_prompts, found.layers) == (right.n_prompts, right.layers)
    for layer in right.layers:
        off = (found.jacobian(layer) - right.jacobian(layer)).norm() / right.jacobian(layer).norm()
        assert off <= share


def test_a_fit_is_the_mean_of_its_texts(model: Model, corpus: Corpus) -> None:
    found = fit(model, corpus, how())
    every = [text_jacobians(model, text, how()) for text in corpus.texts[:4]]
    for layer in (0, 1):
        several = torch.stack([one[layer] for one in every])
        torch.testing.assert_close(found.jacobians[layer], several.mean(0), rtol=1e-10, atol=1e-12)
        error = (several.var(0).sum() / 4).sqrt() / several.mean(0).norm()
        assert found.standard_error(layer) == pytest.approx(float(error), rel=1e-4)
    assert found.layers == (0, 1)


def test_a_fit_that_is_settled_ends(model: Model, corpus: Corpus) -> None:
    assert fit(model, corpus, how(until=0.99)).n_prompts == 2
    assert fit(model, corpus, how(until=1e-9)).n_prompts == 4


def test_a_longer_fit_goes_on(model: Model, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, right = tmp_path / "lens.pt", fit(model, corpus, how())
    fit(model, corpus, how(prompts=2), out)
    told: list[int] = []
    equal(fit(model, corpus, how(), out, told=lambda state, n: told.append(state.n)), right)
    assert told == [2, 3, 4]
    before = out.read_bytes()
    equal(fit(model, corpus, how(), out), right)  # nothing is left to do, twice
    equal(fit(model, corpus, how(), out), right)
    assert load_lens(out).origin.digest == corpus.digest(4)
    assert len(out.read_bytes()) == len(before)


def test_a_finished_lens_that_goes_on_is_said_to_be_rounded(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lens.pt"
    said = {}
    for texts in (2, 2, 3):
        assert run(command(path, out, texts)) == 0
        said[texts] = capsys.readouterr().err
    assert said[2] == ""
    assert said[3].splitlines() == [ROUNDED.format(2)]
    with Model.open(path) as opened:
        texts_said = own_words(opened, 4, length=LENGTH)
        right = fit(opened, texts_said, how(dtype="float32", prompts=3))
        equal(load_lens(out), right, 1e-3)  # not more than that

        def interrupts(state: LensSum, _: int) -> None:
            if state.n == 2:
                raise KeyboardInterrupt

        begun = tmp_path / "begun.pt"
        with pytest.raises(KeyboardInterrupt):
            fit(opened, texts_said, how(dtype="float32"), begun, told=interrupts)
    capsys.readouterr()
    assert run(command(path, begun, 4)) == 0
    assert capsys.readouterr().err == ""  # a fit on its way is not rounded


def test_an_interrupted_fit_goes_on_as_if_nothing_had_been(model: Model, corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "lens.pt"

    def interrupts(state: LensSum, _: int) -> None:
        if state.n == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, corpus, how(), out, told=interrupts)
    equal(fit(model, corpus, how(), out), fit(model, corpus, how()), 1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lens.pt"]


@pytest.mark.parametrize(
    ("other", "said"),
    [({"rules": "lrp"}, "rules"), ({"skip": 4}, "skip"), ({"length": 11}, "length"), ({"layers": (1,)}, "blocks")],
)
def test_another_lens_is_not_gone_on_with(
    model: Model, corpus: Corpus, tmp_path: Path, other: dict[str, object], said: str
) -> None:
    out = tmp_path / "lens.pt"
    fit(model, corpus, how(prompts=1), out)
    before = out.read_bytes()
    with pytest.raises(UserError, match=said):
        fit(model, corpus, how(**other), out)
    with pytest.raises(UserError, match="other texts"):
        fit(model, Corpus(corpus.texts[1:], "others"), how(), out)
    assert out.read_bytes() == before


def test_another_model_is_not_gone_on_with(model: Model, corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "lens.pt"
    fit(model, corpus, how(prompts=1), out)
    path = make("llama", tmp_path / "other.gguf", n_layer=3, seed=5)
    with Model.open(path) as other, pytest.raises(UserError, match="another model"):
        fit(other, corpus, how(), out)


def test_two_fits_into_one_file(
    path: Path, model: Model, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lens.pt"
    arguments = ["lens", "fit", str(path), "--prompts", "1", "--length", "12", "--skip", "3", "--out", str(out)]
    with locked(tmp_path / ".lens.pt.lock", str(out), "fitted"):
        assert run(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "fitted by another process" in said[0]
    assert not out.exists()


class TestCorpus:
    def test_own_words_are_the_same_again(self, model: Model) -> None:
        few, more = (own_words(model, n, length=LENGTH) for n in (2, 18))
        assert more.texts[:2] == few.texts
        assert len(set(more.texts)) == 18
        assert {len(text) for text in more.texts} == {LENGTH}

    def test_documents_are_cut_and_short_ones_kept(self, model: Model) -> None:
        found = corpus_of(model, [list(range(30, 60)), list(range(60, 66))], "two", length=10, skip=3)
        assert all(SKIP + 2 <= len(text) <= 10 for text in found.texts)
        assert 6 in {len(text) for text in found.texts} or 7 in {len(text) for text in found.texts}

    def test_too_short_ones_are_one_line(self, model: Model) -> None:
        with pytest.raises(UserError, match="none of 1 documents has 5 tokens"):
            corpus_of(model, [[1, 2, 3]], "one", length=10, skip=3)

    def test_texts_without_a_source_are_refused(self) -> None:
        with pytest.raises(UserError, match="no position to learn from"):
            LensFitOptions(length=17, skip=16)
        assert LensFitOptions(length=18, skip=16).length == 18

    def test_one_source_is_enough(self, model: Model, corpus: Corpus) -> None:
        found = fit(model, Corpus(tuple(t[: SKIP + 2] for t in corpus.texts), "short"), how(length=SKIP + 2))
        assert found.jacobian(0).isfinite().all()

    @pytest.mark.parametrize("form", ["txt", "jsonl", "csv", "folder"])
    def test_files(self, path: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["The bridge out of Marin is the only way out in the north", "out of the bridge in the Marin is way"]
        place = tmp_path / ("texts" if form == "folder" else f"texts.{form}")
        if form == "folder":
            (place / "deep").mkdir(parents=True)
            (place / "a.md").write_text(words[0])
            (place / "deep" / "b.txt").write_text(words[1])
            (place / "left.bin").write_bytes(b"\xff\x00")
        elif form == "jsonl":
            place.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in words))
        else:
            place.write_text("prompt\n" * (form == "csv") + "\n".join(words))
        out = tmp_path / "lens.pt"
        more = ["--prompts", "2", "--length", "12", "--skip", "3", "--out", str(out)]
        assert run(["lens", "fit", str(path), "--corpus", str(place), *more]) == 0
        assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines() if "/" not in line)
        assert load_lens(out).n_prompts == 2

    def test_chats_are_what_the_template_makes_of_them(self, chatty: Model, tmp_path: Path) -> None:
        chats = [
            [{"role": "user", "content": "The bridge out of Marin"}, {"role": "assistant", "content": "is the way"}],
            [{"role": "user", "content": "the way out " * 300}],  # longer than the context, which pieces are not
        ]
        place = tmp_path / "chats.jsonl"
        lines = [{"messages": chat, "id": f"chat {n}"} for n, chat in enumerate(chats)]
        place.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines, {"text": "no chat at all"}]))
        short, long, plain = read_documents(chatty, place)
        assert chatty.render(chats[0], False) == "user: The bridge out of Marin\nassistant: is the way\n"
        assert short == chatty.ids_of(chatty.chat(chats[0], False))
        assert len(long) > chatty.family.n_ctx_train
        assert plain == "no chat at all"
        texts = corpus_of(chatty, [short, long], "chats", length=LENGTH, skip=SKIP).texts
        bos = chatty.vocab.bos
        assert all(text[0] == bos and text.count(bos) == 1 and len(text) <= LENGTH for text in texts)
        assert tuple(short[:LENGTH]) in texts

    def test_a_fit_over_chats(self, chatty: Model, tmp_path: Path) -> None:
        place, out = tmp_path / "chats.jsonl", tmp_path / "lens.pt"
        chats = [[{"role": "user", "content": f"the bridge {'out ' * n}is the way"}] for n in (5, 6, 7)]
        place.write_text("".join(f"{json.dumps({'messages': chat})}\n" for chat in chats))
        more = ["--prompts", "2", "--length", "12", "--skip", "3", "--out", str(out)]
        assert run(["lens", "fit", str(chatty.file.path), "--corpus", str(place), *more]) == 0
        assert load_lens(out).n_prompts == 2

    @pytest.mark.parametrize(
        ("messages", "said"),
        [
            ([{"role": "user"}], "line 2, message 1: the content is missing"),
            ([{"content": "x"}], "line 2, message 1: the role is missing"),
            ([{"role": "user", "content": "x", "tool": "y"}], "line 2, message 1: the field 'tool'"),
            ([], "line 2: the messages is []"),
            ([1, "x"], "line 2: the messages is"),
            ([{"role": "refused", "content": "x"}], "line 2: "),
        ],
    )
    def test_malformed_chats_are_one_line(
        self, chatty: Model, tmp_path: Path, messages: object, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place = tmp_path / "chats.jsonl"
        fine = {"messages": [{"role": "user", "content": "the bridge"}]}
        place.write_text("".join(f"{json.dumps(line)}\n" for line in (fine, {"messages": messages})))
        arguments = ["--corpus", str(place), "--out", str(tmp_path / "lens.pt")]
        assert run(["lens", "fit", str(chatty.file.path), *arguments]) == 2
        told = capsys.readouterr().err.strip()
        assert f"{place}, {said}" in told
        assert len(told.splitlines()) == 1

    def test_chats_of_a_model_without_a_template(
        self, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place = tmp_path / "chats.jsonl"
        place.write_text(json.dumps({"messages": [{"role": "user", "content": "the bridge"}]}))
        assert run(["lens", "fit", str(path), "--corpus", str(place), "--out", str(tmp_path / "l.pt")]) == 2
        told = capsys.readouterr().err.strip()
        assert f"{place}, line 1: " in told
        assert "no chat template" in told
        assert len(told.splitlines()) == 1

    def test_an_empty_folder_is_one_line(self, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "none").mkdir()
        assert run(["lens", "fit", str(path), "--corpus", str(tmp_path / "none"), "--out", str(tmp_path / "l.pt")]) == 2
        assert "there is no text in this folder" in capsys.readouterr().err


def command(path: Path, out: Path, prompts: int = 6) -> list[str]:
    return ["lens", "fit", str(path), "--prompts", str(prompts), "--length", "12", "--skip", "3", "--out", str(out)]


@POSIX
def test_a_killed_fit_goes_on(path: Path, tmp_path: Path) -> None:
    """At a moment of no one's choosing, between two texts or in one's writing."""
    out, whole = tmp_path / "killed.pt", tmp_path / "whole.pt"
    assert run(command(path, whole, 40)) == 0
    process = subprocess.Popen([sys.executable, "-m", "ggufjac", *command(path, out, 40)], stdout=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE
    while not out.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(random.random() / 4)
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    assert 1 <= load_lens(out).n_prompts <= 40
    assert run(command(path, out, 40)) == 0
    equal(load_lens(out), load_lens(whole), 1e-3)
    assert load_lens(out).origin == load_lens(whole).origin


def test_ctrl_c_is_one_line(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ggufjac.analyses.lens.fit.text_jacobians", interrupt)
    assert run(command(path, tmp_path / "lens.pt")) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    tool = shutil.which("mount")
    line = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if tool is None or subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@POSIX
def test_a_full_disk_leaves_what_was_there(model: Model, corpus: Corpus, small: Path) -> None:
    out = small / "lens.pt"
    fit(model, corpus, how(prompts=2), out)
    before = out.read_bytes()
    with contextlib.suppress(OSError), (small / "full").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(UserError, match="cannot be written"):
        fit(model, corpus, how(), out)
    assert out.read_bytes() == before
    (small / "full").unlink()
    equal(fit(model, corpus, how(), out), fit(model, corpus, how()))


def test_merge_and_show(model: Model, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [tmp_path / "a.pt", tmp_path / "b.safetensors"]
    for at, part in enumerate(parts):
        fit(model, Corpus(corpus.texts[2 * at : 2 * at + 2], f"half {at}"), how(prompts=2), part)
    out = tmp_path / "both.pt"
    assert run(["lens", "merge", *map(str, parts), "--out", str(out)]) == 0
    equal(load_lens(out), fit(model, corpus, how()))
    assert run(["lens", "merge", str(parts[0]), str(parts[0]), "--out", str(out)]) == 2
    capsys.readouterr()
    assert run(["lens", "show", str(out)]) == 0
    assert "half 0 + half 1" in capsys.readouterr().out
    assert run(["lens", "merge", str(out), "--out", str(out)]) == 2


def test_in_python(path: Path, tmp_path: Path) -> None:
    out, texts = tmp_path / "lens.pt", ["The bridge out of Marin is the only way out in the north"]
    found = ggufjac.fit_lens(path, texts, rules="detached", skip=3, length=12, out=out)
    assert found.origin.rules == "detached"
    equal(ggufjac.load_lens(out), found)
    own = ggufjac.fit_lens(path, prompts=2, skip=3, length=12)
    assert own.n_prompts == 2


def test_a_place_that_cannot_be_written_is_told_first(
    model: Model, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "write", lambda *_: pytest.fail("written"))
    with pytest.raises(UserError, match="cannot be written"):
        fit(model, corpus, how(), tmp_path / "none" / "lens.pt")
