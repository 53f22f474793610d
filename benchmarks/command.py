"""From the command line to the finished report, beside the time that Python, torch and llama.cpp need to be there.

The baseline is a process that imports torch and llama.cpp's bindings and does nothing: no analysis can be faster.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.timing import timed
from ggufjac.registry import resolve

PROMPT = "The bridge out of Marin is the"


def main() -> None:
    path = str(resolve("smollm2-135m"))
    report = [sys.executable, "-m", "ggufjac", "analyze", path, PROMPT, "--top", "8"]
    nothing = [sys.executable, "-c", "import torch, llama_cpp"]
    help_ = [sys.executable, "-m", "ggufjac", "--help"]
    times = {}
    for name, command in (("report", report), ("imports", nothing), ("help", help_)):

        def work(command: list[str] = command) -> object:
            return subprocess.run(command, check=True, capture_output=True)

        times[name] = timed(work)
    print(f"analyze SmolLM2, 7 tokens, top 8: {times['report'][0]:.2f} s (median {times['report'][1]:.2f})")
    ratio = times["report"][0] / times["imports"][0]
    print(f"importing torch and llama_cpp:    {times['imports'][0]:.2f} s, ratio {ratio:.1f}x")
    print(f"--help:                           {times['help'][0]:.2f} s (median {times['help'][1]:.2f})")
