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

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")


def run(script: str, *arguments: str, interpreted: bool, folder: Path) -> None:
    """One of the scripts in tests/triton_checks; what it found wrong is the failure's message."""
    ran = subprocess.run(
        [sys.executable, "-m", f"triton_checks.{script}", *arguments],
        cwd=HERE,
        env={**os.environ, "TRITON_INTERPRET": str(int(interpreted)), "TRITON_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
