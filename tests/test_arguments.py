"""What may stand on a command line: numbers however they are written, names of any length; a mistake is one line."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import pytest
import torch

from ggufjac.cli.main import parse, parser, run
from ggufjac.errors import UserError
from ggufjac.network.texts import Sampling
from ggufjac.readable import curtailed


def complaint(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which a command refuses."""
    assert run([str(word) for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    return line


@pytest.mark.parametrize("number", ["-1e1", "-1E+1", "-.5e1", "-2.", "-3", "1e0"])
def test_strengths_in_any_notation(number: str) -> None:
    args = parse(["steer", "m", "--concept", "x", "--prompt", "y", "--strength", number, "1"])
    assert args.option_strengths == [float(number), 1.0]


@pytest.mark.parametrize("number", ["-inf", "inf", "nan", "-nan", "-Infinity", "1e400"])
@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("steer", "--strength"),
        ("generate", "--temperature"),
        ("generate", "--top-p"),
        ("generate", "--top-k"),
        ("answer", "--temperature"),
        ("answer", "--tokens"),
        ("analyze", "--seed"),
        ("analyze", "--memory"),
        ("analyze", "--threads"),
        ("layers", "--every"),
        ("plan", "--tokens"),
    ],
)
def test_what_is_no_number_is_refused_by_its_name(command: str, flag: str, number: str) -> None:
    with pytest.raises(UserError) as caught:
        parse([command, "m", flag, number])
    assert str(caught.value).startswith(f"{flag}: {number!r} is ")


@pytest.mark.parametrize("command", ["generate", "answer", "steer"])
def test_a_negative_exponent_is_no_option(command: str) -> None:
    with pytest.raises(UserError, match=r"--temperature: '-1e-3' is no temperature; give 0 or more"):
        parse([command, "m", "--temperature", "-1e-3"])


@pytest.mark.parametrize("temperature", [1e-320, math.ulp(0.0), 1e-300])
def test_temperatures_next_to_0_choose_the_likeliest(temperature: float) -> None:
    logits = torch.tensor([[1.0, 7.0, -3.0, 6.9]])
    choose = Sampling(temperature, seed=1).chooser(1)
    assert {int(choose(logits)) for _ in range(20)} == {1}


def test_a_path_without_its_ending(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = tiny_path.with_suffix("")
    assert complaint(capsys, "inspect", short) == f"ggufjac: there is no file {short}; did you mean {tiny_path}?"


@pytest.mark.parametrize("letter", ["a", "a ", "é", "'"])
@pytest.mark.parametrize("words", [["inspect"], ["show"], ["pull"], ["run", "--status"], ["analyze", "m", "x"], []])
def test_long_names_are_curtailed(capsys: pytest.CaptureFixture[str], words: list[str], letter: str) -> None:
    line = complaint(capsys, *words, letter * (5000 // len(letter)))
    assert len(line) < 3100
    assert "…" in line


def test_a_long_option_is_curtailed(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(complaint(capsys, "analyze", "m", f"--{'frobn' * 1000}")) < 500


@pytest.mark.parametrize(
    "words",
    [
        ["analyze", "M", "x", "--json"],
        ["analyze", "M", "x", "--save"],
        ["analyze", "M", "x", "--plot"],
        ["analyze", "M", "--prompt-file"],
        ["analyze", "M", "--messages"],
        ["verify", "M", "--tmp"],
        ["steer", "M", "--concept", "x", "--prompt", "y", "--export"],
        ["run", __file__, "M", "--out"],
        ["run"],
    ],
)
def test_long_names_of_files_are_one_line(
    capsys: pytest.CaptureFixture[str], tiny_path: Path, words: list[str]
) -> None:
    line = complaint(capsys, *[tiny_path if word == "M" else word for word in words], "frobn" * 1000)
    assert len(line) < 1000


def test_what_is_curtailed_keeps_both_ends() -> None:
    assert curtailed("there is no file /a/b.gguf; say why") == "there is no file /a/b.gguf; say why"
    assert curtailed(f"no {'x' * 600}.gguf here") == f"no {'x' * 200}…{'x' * 195}.gguf here"


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        *(
            (command, "--rules", "frobn")
            for command in ("analyze", "answer", "layers", "attribute", "ablate", "extremes")
        ),
        ("answer", "--above", "frobn"),
        ("answer", "--rivals", "frobn"),
        ("answer", "--by", "frobn"),
        ("answer", "--device", "frobn"),
        ("answer", "--against", "frobnicated"),
        ("answer", "--dtype", "frobn"),
    ],
)
def test_a_wrong_value_is_told_once(
    tiny_path: Path, capsys: pytest.CaptureFixture[str], command: str, option: str, value: str
) -> None:
    line = complaint(capsys, command, tiny_path, "The bridge", option, value)
    assert line.count(value) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["analyze", "--help"]])
def test_help_that_cannot_be_written(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert run(words) == 2
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert capsys.readouterr().err == "ggufjac: standard output cannot be written: No space left on device\n"


def test_how_tokens_are_drawn_is_the_same_option_everywhere() -> None:
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    told = {}
    for name in ("generate", "answer", "steer"):
        known = {flag: action for action in commands.choices[name]._actions for flag in action.option_strings}
        told[name] = [
            (known[flag].help, known[flag].metavar) for flag in ("--temperature", "--top-p", "--top-k", "--seed")
        ]
    assert told["generate"] == told["answer"] == told["steer"]
