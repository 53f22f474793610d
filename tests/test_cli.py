"""The command line as a person meets it: in a process of its own, with its exit status and its one-line errors."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PATIENCE
from ggufjac.cli.main import parse, parser
from ggufjac.errors import UserError
from tinymodels import make

PROMPT = "The bridge"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def ggufjac(home: Path, *arguments: object, stdin: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GGUFJAC_HOME": str(home), "COLUMNS": "100", **more}
    return subprocess.run(
        [sys.executable, "-m", "ggufjac", *map(str, arguments)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=PATIENCE,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on standard error that holds the words, nothing on standard output, status 2."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ggufjac: ")
    for word in words:
        assert word in lines[0]


def test_help_is_light(home: Path) -> None:
    done = ggufjac(home, "--help")
    assert done.returncode == 0
    for command in ("analyze", "verify", "inspect", "show", "pull", "models", "families"):
        assert command in done.stdout
    heavy = ("torch", "llama_cpp", "gguf", "rich")
    probe = f"import sys; import ggufjac.cli.main; print([m for m in {heavy} if m in sys.modules])"
    light = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert light.stdout.strip() == "[]"


def test_analyze_prints_saves_and_shows(home: Path, tiny_path: Path, tmp_path: Path) -> None:
    saved, as_json, svg, html = (tmp_path / name for name in ("run.safetensors", "run.json", "run.svg", "run.html"))
    done = ggufjac(
        home, "analyze", tiny_path, PROMPT, "--top", 3, "--save", saved, "--json", as_json, "--svg", svg, "--html", html
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "exactness" in done.stdout
    assert "\x1b" not in done.stdout
    plain = json.loads(as_json.read_text(encoding="utf-8"))
    assert plain["prompt"] == PROMPT
    assert plain["reconstruction"] < 1e-5
    assert plain["agreement"]["verdict"] == "MATCH"
    assert svg.read_text(encoding="utf-8").startswith("<svg")
    assert "<html" in html.read_text(encoding="utf-8")
    again = ggufjac(home, "show", saved)
    assert again.stdout == done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.html", "run.json", "run.safetensors", "run.svg"]


def test_prompts_come_from_a_file_or_standard_input_byte_for_byte(home: Path, tiny_path: Path, tmp_path: Path) -> None:
    written = tmp_path / "prompt.txt"
    written.write_bytes(f"{PROMPT}\r\n\n".encode())
    options = ("--json", "-", "--tokens", "combined", "--no-verify")
    results = [
        ggufjac(home, "analyze", tiny_path, "--prompt-file", written, *options),
        ggufjac(home, "analyze", tiny_path, "-", *options, stdin=PROMPT + "\n\n"),
        ggufjac(home, "analyze", tiny_path, *options, stdin=PROMPT),
    ]
    for done in results:
        assert done.returncode == 0, done.stderr
    assert [json.loads(done.stdout)["prompt"] for done in results] == [f"{PROMPT}\r\n\n", f"{PROMPT}\n\n", PROMPT]
    assert json.loads(results[0].stdout)["agreement"] is None


def test_a_target_by_text_and_by_number(home: Path, tiny_path: Path) -> None:
    options = ("--json", "-", "--tokens", "combined", "--no-verify", "--top", 1)
    done = ggufjac(home, "analyze", tiny_path, PROMPT, "--target", "#300", *options)
    target = json.loads(done.stdout)["target"]
    assert target["token"]["id"] == 300
    assert target["rank"] >= 1
    by_text = ggufjac(home, "analyze", tiny_path, PROMPT, "--target", target["token"]["text"], *options)
    assert json.loads(by_text.stdout)["target"] == target


def test_prompts_may_follow_options() -> None:
    from ggufjac.cli.main import parse

    assert parse(["analyze", "m.gguf", "--top", "3", "a prompt"]).prompt == "a prompt"
    assert parse(["analyze", "--top", "3", "m.gguf", "a prompt"]).prompt == "a prompt"
    assert parse(["verify", "m.gguf", "one", "--twin", "two", "three"]).prompts == ["one", "two", "three"]
    for wrong in (["analyze", "m", "a", "b"], ["analyze", "m", "--nope", "a"], ["inspect", "m", "a"]):
        with pytest.raises(UserError):
            parse(wrong)


def test_verify(home: Path, tiny_path: Path, tmp_path: Path) -> None:
    done = ggufjac(home, "verify", tiny_path, PROMPT, "a", "--tmp", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agree" in done.stdout
    assert list(tmp_path.iterdir()) == []
    as_json = json.loads(ggufjac(home, "verify", tiny_path, PROMPT, "--direct", "--json", "-").stdout)
    assert as_json["agrees"] is True


def test_inspect_and_families(home: Path, tiny_path: Path) -> None:
    done = ggufjac(home, "inspect", tiny_path, "--tensors")
    assert done.returncode == 0
    for word in ("llama", "block_count", "F32", "blk.0.attn_q.weight", "yes"):
        assert word in done.stdout
    assert json.loads(ggufjac(home, "inspect", tiny_path, "--json").stdout)["refusal"] is None
    assert "gemma3" in ggufjac(home, "families").stdout


def test_wrong_models(home: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    empty = tmp_path / "empty.gguf"
    empty.touch()
    refused(ggufjac(home, "analyze", tmp_path / "none.gguf", PROMPT), "none.gguf")
    refused(ggufjac(home, "analyze", text, PROMPT), "notes.txt")
    refused(ggufjac(home, "analyze", empty, PROMPT), "empty.gguf")
    refused(ggufjac(home, "inspect", tmp_path), str(tmp_path))
    refused(ggufjac(home, "analyze", "smolm2-135m", PROMPT), "smollm2-135m")
    refused(ggufjac(home, "verify", "no-such-model-anywhere"), "no-such-model-anywhere")
    refused(ggufjac(home, "pull", "smolm2"), "smollm2-135m")


def test_damaged_models(home: Path, tiny_path: Path, tmp_path: Path) -> None:
    whole = tiny_path.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: len(whole) // 2])
    refused(ggufjac(home, "analyze", cut, PROMPT), "cut.gguf")
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(whole.replace(b"llama", b"lamma"))
    refused(ggufjac(home, "analyze", strange, PROMPT), "lamma", "llama", "gemma3")
    wrong = make("llama", tmp_path / "wrong.gguf", n_head=4)
    raw = wrong.read_bytes()
    key = b"llama.attention.head_count_kv"
    at = raw.index(key) + len(key) + 4
    wrong.write_bytes(raw[:at] + (3).to_bytes(4, "little") + raw[at + 4 :])
    refused(ggufjac(home, "analyze", wrong, PROMPT), "wrong.gguf", "3")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([""], "empty"),
        ([PROMPT * 2000], "shorten"),
        ([PROMPT, "--target", ""], "no token is"),
        ([PROMPT, "--target", "#123456"], "no token 123456"),
        ([PROMPT, "--memory", "1K"], "smallest"),
        ([PROMPT, "--save", "/no/such/folder/x"], "cannot be written"),
        ([PROMPT, "--prompt-file", "x"], "not both"),
        (["--prompt-file", "/no/such/file"], "cannot be read"),
    ],
)
def test_wrong_requests(home: Path, tiny_path: Path, arguments: list[str], word: str) -> None:
    refused(ggufjac(home, "analyze", tiny_path, *arguments), word)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["analyse", "m", "a"], ["analyse", "did you mean analyze"]),
        (["attention", "m", "a"], ["did you mean attribute"]),
        (["nonsense"], ["nonsense", "--help"]),
        ([], ["COMMAND", "--help"]),
        (["analyze", "m", "a", "--targt", "x"], ["--targt", "did you mean --target", "ggufjac analyze --help"]),
        (["analyze", "m", "a", "b"], ["'b'", "quotes"]),
        (["analyze", "m", "a", "--top", "0"], ["--top", "'0'", "positive"]),
        (["analyze", "m", "a", "--dtype", "float16"], ["--dtype", "float16", "bfloat16"]),
        (["layers", "m", "a", "--dtype", "bfloat16"], ["--dtype", "bfloat16", "float32, float64"]),
        (["analyze", "m", "a", "--memory", "lots"], ["--memory", "lots", "8GiB"]),
        (["attribute", "m", "a", "--against", "x", "--against", "y"], ["--against", "twice"]),
        (["attribute", "m", "a", "--against"], ["--against", "expected one argument"]),
        (["layers", "m", "a", "--layers", "1", "--every", "2"], ["--layers", "--every"]),
        (["steer", "m", "--prompt", "x"], ["--concept", "missing"]),
    ],
)
def test_mistyped_commands_and_options(home: Path, arguments: list[str], words: list[str]) -> None:
    refused(ggufjac(home, *arguments), *words)


def test_a_reader_that_leaves_early_is_no_error(home: Path, tiny_path: Path) -> None:
    command = f"{sys.executable} -m ggufjac inspect {tiny_path} --tensors | head -1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env={**os.environ, "GGUFJAC_HOME": str(home)}, check=False
    )
    assert done.stderr == ""


def flags() -> list[tuple[str, str, str]]:
    """Every flag that takes one value: its command, its name, and a value that it takes."""
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return [
        (name, action.option_strings[-1], str(action.choices[0]) if action.choices else "1")
        for name, command in commands.choices.items()
        for action in command._actions
        if type(action).__name__ in ("_StoreAction", "_Once") and action.option_strings
    ]


@pytest.mark.parametrize(("command", "flag", "value"), flags())
def test_a_flag_that_takes_one_value_is_refused_twice(command: str, flag: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{flag} was given twice; it takes one value"):
        parse([command, flag, value, flag, value])
