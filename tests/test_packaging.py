"""What others install: the wheel that the source archive builds is whole, and works where there is no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from conftest import PATIENCE
from ggufjac.version import __version__

fcntl = pytest.importorskip("fcntl", reason="workers of pytest-xdist wait for each other by Unix's locks")

if find_spec("scikit_build_core") is None or find_spec("nanobind") is None:
    pytest.skip("scikit_build_core and nanobind, which build the extension, are not installed", allow_module_level=True)

ROOT = Path(__file__).parent.parent
BUILD_SDIST = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"

#: What the build and its reader need besides the package.
SOURCES = ("CMakeLists.txt", "pyproject.toml", "models.toml", "README.md", "LICENSE", "native/module.cpp")


def run(*command: object, folder: Path, **more: str) -> str:
    """What a command prints; PYTHONPATH and the like would lead back to the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env={**environment, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=3 * PATIENCE,  # a busy machine compiles for minutes
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Compiling takes a minute: where pytest-xdist runs several workers, one of them does it for all."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "packaging"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(folder.glob("*.whl")):
            run(sys.executable, "-c", BUILD_SDIST, folder, folder=ROOT)
            (sdist,) = folder.glob("*.tar.gz")
            options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", folder)
            run(sys.executable, "-m", "pip", "wheel", *options, sdist, folder=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment that has the wheel, and what it needs from this one."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", symlinks=True)
    binaries = folder / "venv" / "bin"
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", built.wheel)
    run(sys.executable, "-m", "pip", "--python", binaries / "python", "install", *options, folder=folder)
    # behind the wheel; a .pth file of these folders, as editable installs have them, is not followed
    ours = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    theirs = Path(run(binaries / "python", "-c", code, folder=folder).strip())
    (theirs / "dependencies.pth").write_text("\n".join(ours) + "\n", encoding="utf-8")
    return binaries


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


def package() -> set[str]:
    """The files of ggufjac/ that belong to it, from the top of the repository."""
    files = (path for path in (ROOT / "ggufjac").rglob("*") if path.is_file() and path.suffix not in (".so", ".pyc"))
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_source_archive_is_whole(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    native = {f"native/{path.name}" for path in (ROOT / "native").iterdir()}
    tests = {f"tests/{path.name}" for path in (ROOT / "tests").glob("*.py")}
    assert package() | native | tests | set(SOURCES) <= names
    assert not [name for name in names if name.endswith((".so", ".pyc", ".gguf"))]


def test_the_wheel_is_whole(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
        about = f"ggufjac-{__version__}.dist-info"
        licence = archive.read(f"{about}/licenses/LICENSE")
        metadata = archive.read(f"{about}/METADATA").decode()
        models = archive.read("ggufjac/models.toml")
    extension = {name for name in names if name.startswith("ggufjac/_native.") and name.endswith(".so")}
    assert len(extension) == 1
    expected = package() | extension | {"ggufjac/models.toml"}
    assert {name for name in names if not name.startswith(about)} == expected
    assert {"ggufjac/py.typed", "ggufjac/_native.pyi", "ggufjac/reports/page/page.html"} <= names
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert models == (ROOT / "models.toml").read_bytes()
    assert (ROOT / "README.md").read_text(encoding="utf-8").strip() in metadata


def test_one_wheel_serves_every_version_from_3_12_on(built: Built) -> None:
    if sys.version_info < (3, 12):
        pytest.skip("nanobind can use the stable ABI from Python 3.12 on")
    assert "-cp312-abi3-" in built.wheel.name
    if find_spec("abi3audit") is None:
        pytest.skip("abi3audit is not installed")
    audit = run(sys.executable, "-m", "abi3audit", "--strict", "--report", built.wheel, folder=built.wheel.parent)
    (report,) = json.loads(audit)["specs"].values()
    (extension,) = report["wheel"]
    assert extension["result"]["is_abi3_baseline_compatible"], audit


def test_it_is_the_installed_one_that_runs(installed: Path, empty: Path) -> None:
    code = (
        "import json, ggufjac, ggufjac._native as native, ggufjac.registry.catalogue as catalogue;"
        "print(json.dumps([ggufjac.__file__, native.__file__, str(catalogue._builtin())]))"
    )
    files = [Path(file) for file in json.loads(run(installed / "python", "-c", code, folder=empty))]
    assert [file for file in files if not file.is_relative_to(installed.parent)] == []
    assert files[2].parent == files[0].parent


def test_commands_work_where_there_is_no_checkout(installed: Path, empty: Path, tiny_path: Path) -> None:
    def ggufjac(*arguments: object) -> str:
        return run(installed / "ggufjac", *arguments, folder=empty, GGUFJAC_HOME=str(empty))

    assert "gemma3" in ggufjac("families", "--markdown")
    assert "smollm2-135m" in {entry["name"] for entry in json.loads(ggufjac("models", "--json"))["registry"]}
    saved = empty / "analysis.json"
    page = empty / "analysis.html"
    ggufjac("analyze", tiny_path, "The bridge", "--json", saved, "--html", page)
    assert json.loads(saved.read_text(encoding="utf-8"))["schema"].startswith("ggufjac.analysis/")
    assert page.stat().st_size > 10_000
