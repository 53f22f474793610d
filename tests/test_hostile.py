"""Text from outside, as an attacker writes it: in every output it is text, on the line that it is on."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from conftest import printed
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.table import KINDS, load
from ggufjac.cli.main import run
from ggufjac.cli.standard import say
from ggufjac.readable import harmless, readable, storable, visible
from ggufjac.reader.cursor import show
from ggufjac.reports.terminal.files import plain, svg
from ggufjac.reports.views import VIEWS
from results import nasty
from tinymodels import FAMILIES, Tiny, decoders, make

#: A title, the clipboard, a colour, a link, a line of its own, the end of a file name that is no UTF-8.
HOSTILE = "\x1b]0;mine\x07\x1b]52;c;bWluZQ==\x07\x1b[31m\x1b]8;;http://x\x1b\\X\nY\x9b2J\r\udce9"
#: Fields that hold text from outside: of files, of prompts, of llama.cpp's errors.
FIELDS = {"name", "file", "architecture", "notes", "agreement_note", "role", "reason", "text", "concept", "phrase"}
#: What has such fields of the program's own.
OWN = ("PlannedStep", "Word", "Piece")
#: What a terminal obeys: everything below a space but the line's end, and the second set of controls.
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def hostile(value: Any) -> Any:
    """The same with every text from outside replaced."""
    if isinstance(value, tuple):
        return tuple(map(hostile, value))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    new: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        old = getattr(value, field.name)
        if field.name in FIELDS and isinstance(old, str) and type(value).__name__ not in OWN:
            new[field.name] = HOSTILE if field.name != "agreement_note" or old else old
        elif field.name in FIELDS and isinstance(old, tuple) and all(isinstance(item, str) for item in old):
            new[field.name] = (HOSTILE,)
        elif field.name != "arrays":
            new[field.name] = hostile(old)
    return dataclasses.replace(value, **new)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_view_obeys_text(kind: str, results: dict[str, Result], tmp_path: Path) -> None:
    result = hostile(nasty(results[kind]))
    for width in (60, 100, 140):
        assert not OBEYED.search(printed(VIEWS.terminal(result), width))
    ElementTree.fromstring(VIEWS.svg(result))
    page = VIEWS.page(result)
    assert "\x1b" not in page
    page.encode("utf-8")
    result.save(tmp_path / "x.safetensors")
    assert load(tmp_path / "x.safetensors").to_json() == result.to_json()
    for path in VIEWS.plot(result, tmp_path / "pictures"):
        ElementTree.parse(path)


def test_a_part_that_lets_text_through_is_caught(capfd: pytest.CaptureFixture[str]) -> None:
    from rich.text import Text

    say(Text(HOSTILE), HOSTILE.replace("[", "("))
    assert not OBEYED.search(capfd.readouterr().out)
    ElementTree.fromstring(svg(Text(HOSTILE), "x"))
    assert not OBEYED.search(plain(Text(HOSTILE)))


def test_readable() -> None:
    assert not OBEYED.search(readable(HOSTILE))
    assert "\n" not in visible(HOSTILE)
    assert harmless("a\tb\n\x1b[31m👩‍👩‍👧\x9b") == "a\tb\n\\x1b[31m👩‍👩‍👧\\x9b"
    assert storable("caf\udce9 \x1b ü") == "caf\\xe9 \x1b ü"
    assert visible("caf\udce9 \x1b ü") == show("caf\udce9 \x1b ü") == "caf\\xe9 \\x1b ü"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A model whose folder, file, name, keys and tensors are all hostile."""
    folder = tmp_path / "\x1b]0;folder\x07"
    folder.mkdir()
    tiny = Tiny("llama", FAMILIES["llama"].shape, 1)
    decoders.llama(tiny)
    return tiny.write(folder / "\x1b[31mred\nline.gguf")


@pytest.mark.parametrize(
    "command", [["analyze", "--no-verify"], ["inspect", "--tensors"], ["tokenize"], ["plan"], ["verify", "--direct"]]
)
def test_no_command_obeys_a_name(stranger: Path, command: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    name, *more = command
    words = [] if name in ("inspect", "plan") else ["The bridge"]
    assert run([name, str(stranger), *words, *more]) == 0
    shown = capfd.readouterr()
    assert not OBEYED.search(shown.out)
    assert not OBEYED.search(shown.err)
    stranger.write_bytes(b"no model")
    assert run([name, str(stranger), *words, *more]) == 2
    refused = capfd.readouterr().err
    assert not OBEYED.search(refused)
    assert len(refused.splitlines()) == 1


def test_a_run_obeys_no_name(stranger: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prompts, out = tmp_path / "\x1b[31mprompts.txt", tmp_path / "\x1b]0;out\x07"
    prompts.write_text("The bridge\nthe \x1b[32m end\n")
    words = ["run", str(prompts), str(stranger), "--out", str(out), "--analysis", "attribute", "--fast"]
    assert run([*words, "--csv", str(tmp_path / "rows.csv")]) == 0
    assert run(["run", "--status", str(out)]) == 0
    assert not OBEYED.search(capfd.readouterr().out)
    assert run(["run", "--status", str(prompts)]) == 2
    assert not OBEYED.search(capfd.readouterr().err)


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")
def test_names_that_are_no_utf8_lose_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system holds UTF-8 alone")
    path = make("llama", tmp_path / "x.gguf").rename(folder / os.fsdecode(b"mod\xe8le.gguf"))
    outputs = {flag: folder / f"out.{flag}" for flag in ("json", "save", "html", "svg")}
    flags = [word for flag, place in outputs.items() for word in (f"--{flag}", str(place))]
    assert run(["analyze", str(path), "The bridge", "--no-verify", "--top", "2", *flags]) == 0
    assert "mod\\xe8le" in capfd.readouterr().out
    for place in outputs.values():
        assert place.stat().st_size
    assert run(["show", str(outputs["save"])]) == 0
    assert run(["inspect", str(path), "--json"]) == 0
    assert "mod\\udce8le" in capfd.readouterr().out
    prompts = tmp_path / "p.txt"
    prompts.write_text("The bridge\n")
    words = ["run", str(prompts), str(path), "--out", str(folder / "results"), "--analysis", "attribute", "--fast"]
    assert run([*words, "--json", str(folder / "run.json"), "--csv", str(folder / "run.csv")]) == 0
    assert run(["run", "--status", str(folder / "results"), "--json", "-"]) == 0
    capfd.readouterr()
    path.write_bytes(b"GGUF")
    assert run([*words]) == 2
    assert "caf\\xe9/mod\\xe8le.gguf: " in capfd.readouterr().err
