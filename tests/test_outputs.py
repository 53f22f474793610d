"""Where results go: whatever is there, whatever becomes of the others, and whatever standard output is."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conftest import PATIENCE
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.table import load
from ggufjac.atomic import require_writable, write, write_text
from ggufjac.cli.outputs import each
from ggufjac.errors import UserError

POSIX = pytest.mark.skipif(os.name == "nt", reason="devices, links and modes of POSIX")
#: Runs the command line as `ggufjac` does, after what is said first.
MAIN = [sys.executable, "-m", "ggufjac"]


def shell(command: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of a shell, in which $G is ggufjac."""
    known = {**os.environ, "GGUFJAC_HOME": str(tmp_path / "home"), "G": " ".join(MAIN), "COLUMNS": "100"}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, env={**known, **environment}, timeout=PATIENCE, check=False
    )


def one_line(done: subprocess.CompletedProcess[bytes], *words: str) -> None:
    told = done.stderr.decode()
    assert "Traceback" not in told
    assert len(told.splitlines()) == 1, told
    for word in words:
        assert word in told


class TestPlaces:
    @POSIX
    def test_a_device_stays_a_device(self, tmp_path: Path) -> None:
        before = os.stat(os.devnull)
        require_writable(os.devnull)
        write_text(os.devnull, "nothing")
        assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
        assert os.path.samestat(before, os.stat(os.devnull))

    @POSIX
    def test_a_pipe_is_written_to(self, tmp_path: Path) -> None:
        pipe, found = tmp_path / "pipe", []
        os.mkfifo(pipe)
        reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
        reader.start()
        require_writable(pipe)
        write(pipe, lambda path: path.write_bytes(b"x" * 1_000_000) and None)
        reader.join(PATIENCE)
        assert found == [b"x" * 1_000_000]
        assert stat.S_ISFIFO(os.stat(pipe).st_mode)
        assert list(tmp_path.iterdir()) == [pipe]

    @POSIX
    def test_a_link_is_followed_and_a_mode_is_kept(self, tmp_path: Path) -> None:
        real, link = tmp_path / "real.json", tmp_path / "sub" / "link.json"
        link.parent.mkdir()
        link.symlink_to("../real.json")
        write_text(link, "one")  # a link that leads nowhere yet
        assert real.read_text() == "one"
        real.chmod(0o600)
        write_text(link, "two")
        assert link.is_symlink()
        assert real.read_text() == "two"
        assert stat.S_IMODE(real.stat().st_mode) == 0o600
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["link.json", "real.json", "sub"]

    @POSIX
    def test_a_new_file_has_the_users_usual_mode(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_text(tmp_path / "x", "x")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640

    def test_a_name_as_long_as_names_get(self, tmp_path: Path) -> None:
        for name in ("x" * 250, "é" * 120):
            write_text(tmp_path / name, "x")
            assert (tmp_path / name).read_text() == "x"

    @POSIX
    def test_what_fails_leaves_what_was_there(self, tmp_path: Path) -> None:
        target = tmp_path / "x"
        target.write_text("before")
        with pytest.raises(UserError, match="cannot be written: No space left on device"):
            write(target, lambda path: Path("/dev/full").write_text("x" * 100_000) and None)
        assert target.read_text() == "before"
        assert list(tmp_path.iterdir()) == [target]
        with pytest.raises(UserError, match="/dev/full cannot be written: No space left on device"):
            write_text("/dev/full", "x")

    def test_a_file_is_on_the_disk_before_it_has_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[str] = []
        sync, replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", lambda handle: steps.append("sync") or sync(handle))
        monkeypatch.setattr(os, "replace", lambda a, b: steps.append("rename") or replace(a, b))
        write_text(tmp_path / "x", "x")
        assert steps[:2] == ["sync", "rename"]
        assert os.name == "nt" or steps[2:] == ["sync"]  # of the folder's entry


class TestEach:
    def test_an_output_that_fails_costs_only_itself(self, capsys: pytest.CaptureFixture[str]) -> None:
        made: list[int] = []

        def refuse() -> None:
            raise UserError("full")

        def fail() -> None:
            raise ZeroDivisionError

        with pytest.raises(UserError, match="full; full"):
            each([refuse, lambda: made.append(1), refuse, lambda: made.append(2)])
        with pytest.raises(ZeroDivisionError):
            each([fail, lambda: made.append(3), refuse])
        assert made == [1, 2, 3]
        assert capsys.readouterr().err == "ggufjac: full\n"  # is not hidden by the fault


@POSIX
class TestStreams:
    @pytest.fixture
    def analyze(self, tiny_path: Path, tmp_path: Path) -> str:
        files = " ".join(f"--{flag} {tmp_path / flag}" for flag in ("save", "json", "html", "svg"))
        return f"$G attribute {tiny_path} 'The bridge' --fast {files}"

    def whole(self, tmp_path: Path) -> Result:
        """All four files are there."""
        for flag in ("save", "json", "html", "svg"):
            assert (tmp_path / flag).stat().st_size
        json.loads((tmp_path / "json").read_text(encoding="utf-8"))
        return load(tmp_path / "save")

    def test_a_reader_that_has_left(self, analyze: str, tmp_path: Path) -> None:
        done = shell(f"{analyze} | true; exit ${{PIPESTATUS[0]}}", tmp_path)
        assert done.stderr == b""
        assert done.returncode == 0
        self.whole(tmp_path)

    @pytest.mark.parametrize(("where", "word"), [("> /dev/full", "No space left"), (">&-", "closed")])
    def test_a_stream_that_takes_nothing(self, analyze: str, tmp_path: Path, where: str, word: str) -> None:
        done = shell(f"{analyze} {where}", tmp_path)
        assert done.returncode == 2
        one_line(done, "standard output", word)
        self.whole(tmp_path)

    def test_a_file_that_takes_nothing_costs_no_other(self, analyze: str, tmp_path: Path) -> None:
        done = shell(analyze.replace(str(tmp_path / "json"), "/dev/full"), tmp_path)
        assert done.returncode == 2
        one_line(done, "/dev/full cannot be written")
        assert b"exactness" in done.stdout
        assert (tmp_path / "svg").stat().st_size
        load(tmp_path / "save")

    def test_standard_error_that_takes_nothing(self, analyze: str, tmp_path: Path) -> None:
        for where in ("2> /dev/full", "2>&-", "2> >(true)"):
            done = shell(f"{analyze} {where}", tmp_path)
            assert done.returncode == 0
            assert b"exactness" in done.stdout
        self.whole(tmp_path)

    def test_standard_output_by_its_name(self, tiny_path: Path, tmp_path: Path) -> None:
        """In a pipe, and in a file, in which neither hides the other."""
        command = f"$G attribute {tiny_path} 'The bridge' --fast --json /dev/stdout"
        for line in (f"{command} | cat", f"{command} > {tmp_path}/out; cat {tmp_path}/out"):
            shown = shell(line, tmp_path).stdout.decode()
            assert json.JSONDecoder().raw_decode(shown)[0]["schema"].startswith("ggufjac.attribution")
            assert "exactness" in shown

    @pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
    def test_any_encoding(self, tiny_path: Path, tmp_path: Path, encoding: str) -> None:
        where = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        for command in (f"attribute {tiny_path} 'naïve → 日本 😀' --fast", f"inspect {tiny_path} --tensors", "models"):
            done = shell(f"$G {command}", tmp_path, **where)
            assert done.returncode == 0, done.stderr
            assert done.stdout.decode(encoding)
        for command in (f"attribute {tiny_path} '日本 😀' --fast --json -", f"tokenize {tiny_path} '日本 😀' --json"):
            done = shell(f"$G {command}", tmp_path, **where)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout.decode(encoding))["prompt"] == "日本 😀"  # JSON loses nothing


class TestApart:
    """No output replaces what the command reads."""

    @POSIX
    def test_a_model_is_no_output(self, tiny_path: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy.gguf"
        copy.write_bytes(tiny_path.read_bytes())
        (tmp_path / "link").symlink_to(copy)
        for options in ("--json copy.gguf", "--save link", "--html copy.gguf", "--svg ./copy.gguf"):
            done = shell(f"cd {tmp_path}; $G attribute copy.gguf the {options}", tmp_path)
            assert done.returncode == 2
            one_line(done, "is a GGUF file")
        assert copy.read_bytes() == tiny_path.read_bytes()

    @POSIX
    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ("attribute M --prompt-file p.csv --json p.csv", "p.csv is read by this command"),
            ("run p.csv M --out o --csv p.csv", "p.csv is read by this command"),
            ("verify M --messages p.csv --json p.csv", "p.csv is read by this command"),
            ("attribute M the --json x --html x", "x is named for two outputs"),
            ("attribute M the --html -", "goes with --json"),
        ],
    )
    def test_nor_are_prompts_nor_one_file_twice(
        self, tiny_path: Path, tmp_path: Path, arguments: str, word: str
    ) -> None:
        (tmp_path / "p.csv").write_text("prompt\nthe\n")
        done = shell(f"cd {tmp_path}; $G {arguments.replace(' M', f' {tiny_path}')}", tmp_path)
        assert done.returncode == 2
        one_line(done, word)
        assert (tmp_path / "p.csv").read_text() == "prompt\nthe\n"
        assert not (tmp_path / "x").exists()
