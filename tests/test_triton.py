"""The kernels in Triton: what they compute, shown by Triton's interpreter, and that they compile for cards not here.

Triton decides when a kernel is defined whether it is interpreted or compiled, so each way has a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from conftest import PATIENCE

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")


def run(checks: str, *arguments: str, interpreted: bool, folder: Path) -> None:
    """The tests of one file in tests/triton_checks; what they found wrong is the failure's message."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"triton_checks/{checks}.py", *arguments],
        cwd=Path(__file__).parent,
        env={**os.environ, "TRITON_INTERPRET": str(int(interpreted)), "TRITON_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_what_kernels_compute(tmp_path: Path) -> None:
    run("interpreted", interpreted=True, folder=tmp_path)


@pytest.mark.parametrize("capability", [80, 89, 90, 120])
def test_kernels_compile_for_a_card(capability: int, tmp_path: Path) -> None:
    """A100, RTX 40, H100, RTX 50."""
    run("compiled", f"--target={capability}", interpreted=False, folder=tmp_path)
