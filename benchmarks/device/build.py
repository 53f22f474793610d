"""Build the compiled extension into the package where it is missing, without a network or an installer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "build" / "device"


def importable() -> bool:
    """Whether another process of this Python finds an extension that works with this folder's package."""
    code = "import ggufjac, ggufjac._native; print(ggufjac.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.returncode == 0 and Path(found.stdout.strip()).parent == ROOT / "ggufjac"


def build() -> float:
    """Compile `native/` for this Python, put the result beside the package's modules, and return the seconds.

    Raises RuntimeError with the end of what the tools said.
    """
    since = time.perf_counter()
    folder = FOLDER / f"{sys.implementation.cache_tag}"
    # beside this Python first: the system's cmake may be too old
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    environment = os.environ | {"PATH": path}
    cmake, ninja = shutil.which("cmake", path=path), shutil.which("ninja", path=path)
    command = [sys.executable, "-m", "cmake"] if _module("cmake") else [cmake or "cmake"]
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    settings = ["-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}"]
    _run([*command, "-S", str(ROOT), "-B", str(folder), *generator, *settings], environment)
    _run([*command, "--build", str(folder), "--parallel", str(os.cpu_count() or 1)], environment)
    for made in folder.glob("_native*.so"):
        shutil.copy2(made, ROOT / "ggufjac" / made.name)
    if not importable():
        raise RuntimeError(f"the extension was built, but Python does not import it from {ROOT / 'ggufjac'}")
    return time.perf_counter() - since


def _module(name: str) -> bool:
    found = subprocess.run([sys.executable, "-m", name, "--version"], capture_output=True, check=False)
    return found.returncode == 0


def _run(command: list[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeError(f"{command[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-3000:]}")
