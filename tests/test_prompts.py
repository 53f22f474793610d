"""Prompts as a person types them: chats, escapes, files, and the commands that show tokens and go on with a text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ggufjac import parse
from ggufjac.cli.prompts import unescaped
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.network.texts import Reading, Sampling, goes_on
from test_chat import BARE, SPELT
from test_cli import ggufjac, refused
from tinymodels import make


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def chatty_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = {"tokenizer.chat_template": SPELT, "tokenizer.chat_template.bare": BARE}
    return make("llama", tmp_path_factory.mktemp("chatty") / "llama.gguf", texts=texts)


def tokens(home: Path, *arguments: object, stdin: str | None = None) -> dict[str, object]:
    done = ggufjac(home, "tokenize", *arguments, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_escapes() -> None:
    assert unescaped(r"a\n\t\\n\x41\u00e9\ud83d\ude00") == "a\n\t\\nA" + "é😀"
    assert unescaped("plain") == "plain"
    for wrong in ("\\q", "a\\", "\\u12", "\\x4"):
        with pytest.raises(UserError, match="is no escape"):
            unescaped(wrong)
    with pytest.raises(UserError, match="lone surrogate"):
        unescaped(r"\ud83d")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_files_of_other_encodings(home: Path, chatty_path: Path, tmp_path: Path, encoding: str) -> None:
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    file = tmp_path / "prompt.txt"
    file.write_bytes(mark + "the é\n".encode(encoding))
    assert tokens(home, chatty_path, "--prompt-file", file)["prompt"] == "the é\n"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"abc\xff", "not UTF-8: invalid start byte at byte 3; save it as UTF-8"),
        ("the".encode("utf-16-le"), "every second byte is zero"),
        (b"\xff\xfea", "not UTF-16"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse.text(data)


def test_a_prompt_becomes_a_chat(home: Path, chatty_path: Path, tmp_path: Path) -> None:
    assert tokens(home, chatty_path, "--chat", "the")["prompt"] == "<s>[user] the [assistant]"
    told = tokens(home, chatty_path, "--system", r"a\tb", "-e", "the")
    assert told["prompt"] == "<s>[system] a\tb [user] the [assistant]"
    assert told["notes"] == []
    told = tokens(home, chatty_path, "--chat", "--template", "bare", stdin="the\n")
    assert told["prompt"] == "user: the\n\n"
    messages = json.dumps([{"role": "user", "content": "the"}, {"role": "assistant", "content": "b"}])
    assert tokens(home, chatty_path, "--messages", "-", stdin=messages)["prompt"] == "<s>[user] the [assistant] b"
    file = tmp_path / "chat.json"
    file.write_text(messages, encoding="utf-8")
    told = tokens(home, chatty_path, "--messages", file, "--system", "a")
    assert told["prompt"] == "<s>[system] a [user] the [assistant] b"


def test_tokenize_tells_ids_texts_and_turns(home: Path, chatty_path: Path) -> None:
    told = tokens(home, chatty_path, "--chat", "the")
    rows = told["tokens"]
    assert isinstance(rows, list)
    assert rows[0] == {"position": 0, "id": 1, "text": "<s>", "special": True, "role": None}
    assert "".join(row["text"] for row in rows if row["role"] == "user").strip() == "the"
    shown = ggufjac(home, "tokenize", chatty_path, "--bos", "no", "--no-special", "<s>\nthe").stdout
    assert "special" not in shown
    assert "⏎" in shown


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["the", "--messages", "x.json"], "either PROMPT or --messages"),
        (["--messages", "/no/such/file"], "cannot be read"),
        (["the", "--template", "bare"], "goes with --chat"),
        (["the", "--chat", "--template", "nope"], "--template takes bare"),
        (["--prompt-file", "x", "-e"], "byte for byte"),
        (["the", "--bos", "maybe"], "not among auto, yes, no"),
        (["", "--chat"], "empty"),
        (["the", "--system", "a", "--system", "b"], "--system was given twice"),
        (["--messages", "a", "--messages", "b"], "--messages was given twice"),
        (["a\\q", "-e"], "no escape"),
    ],
)
def test_prompts_that_contradict_themselves(home: Path, chatty_path: Path, arguments: list[str], word: str) -> None:
    refused(ggufjac(home, "tokenize", chatty_path, *arguments), word)


def test_a_chat_without_a_template(home: Path, tiny_path: Path) -> None:
    refused(ggufjac(home, "analyze", tiny_path, "--chat", "the"), "no chat template", "write the prompt as the model")


def test_commands_take_chats(home: Path, chatty_path: Path, tmp_path: Path) -> None:
    wanted = "<s>[user] the [assistant]"
    for command in (("layers", "--top", 1), ("extremes", "--top", 1), ("ordinary", "--top", 1)):
        done = ggufjac(home, *command, chatty_path, "--chat", "the", "--json", "-")
        assert json.loads(done.stdout)["prompt"] == wanted, done.stderr
    done = ggufjac(home, "verify", chatty_path, "--chat", "the", "--direct", "--json", "-")
    assert json.loads(done.stdout)["results"][0]["checks"][0]["prompt"] == wanted
    chat = tmp_path / "chat.json"
    chat.write_text('[{"role": "user", "content": "a"}]', encoding="utf-8")
    both = ("--prompt", "the", "--messages", chat, "--chat", "--top", 1, "--json", "-")
    done = ggufjac(home, "compare", chatty_path, *both)
    assert json.loads(done.stdout)["prompts"] == [wanted, "<s>[user] a [assistant]"], done.stderr
    steer = ("--concept", "an", "--prompt", "the", "--chat", "--layer", 0, "--tokens", 2, "--json", "-")
    done = ggufjac(home, "steer", chatty_path, *steer)
    assert json.loads(done.stdout)["prompt"] == wanted, done.stderr
    assert [turn["role"] for turn in json.loads(done.stdout)["turns"]] == ["user"]


def test_generate_says_what_the_model_says(home: Path, chatty_path: Path) -> None:
    with Model.open(chatty_path) as model:
        ids = model.ids_of(model.chat("the"))
        reading = Reading(model.family, len(ids) + 8)
        steps = goes_on(reading, torch.tensor([ids]), 8, Sampling(), model.vocab.ends_text)
        said = [int(step.tokens[0]) for step in steps]
        expected = b"".join(model.vocab.piece(i) for i in said if not model.vocab.ends_text(i)).decode(
            "utf-8", "replace"
        )
    done = ggufjac(home, "generate", chatty_path, "--chat", "the", "--tokens", 8)
    assert done.stdout == expected + "\n", done.stderr
    drawn = ("--temperature", 2, "--top-k", 40, "--top-p", 0.9, "--seed")
    first, again, other = (
        ggufjac(home, "generate", chatty_path, "--chat", "the", "--tokens", 8, *drawn, seed).stdout
        for seed in (1, 1, 2)
    )
    assert first == again != other
    refused(ggufjac(home, "generate", chatty_path, "the", "--tokens", 10**6), "ask for at most")
    refused(ggufjac(home, "generate", chatty_path, "the", "--top-p", 0), "--top-p")


def test_top_k_draws_among_the_likeliest_alone() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    choose = Sampling(1.0, 1.0, 5, 2).chooser(1)
    counts = torch.bincount(torch.cat([choose(logits) for _ in range(400)]), minlength=4)
    assert counts[2:].sum() == 0
    assert 0.6 < counts[0] / counts.sum() < 0.85  # e / (1 + e) = 0.73
    first = Sampling(1.0, 0.7, 0, 2).chooser(1)  # of two, the first alone has more than 0.7; of four it has 0.64
    assert {int(first(logits)) for _ in range(20)} == {0}
