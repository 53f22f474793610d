"""From the command line to the finished report, beside the time that Python, torch and llama.cpp need to be there.

The baseline is a process that imports torch and llama.cpp's bindings and does nothing: no analysis can be faster.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.table import Table
from benchmarks.timing import timed
from ggufjac.registry import resolve

PROMPT, OTHER = "The bridge out of Marin is the", "Here is a painting of the"
MODELS = ("smollm2-135m", "gemma3-270m")
HEADINGS = ("command", "s", "ratio to the imports")
#: Every command, {} being the model.
COMMANDS = (
    ("analyze", "{}", PROMPT),
    ("analyze", "{}", PROMPT, "--run", "llama.cpp"),
    ("layers", "{}", PROMPT),
    ("layers", "{}", PROMPT, "--what", "layer,attn,mlp"),
    ("attribute", "{}", PROMPT),
    ("ablate", "{}", PROMPT),
    ("extremes", "{}", PROMPT),
    ("ordinary", "{}", PROMPT),
    ("steer", "{}", "--concept", PROMPT, "--prompt", OTHER),
    ("compare", "{}", "--prompt", PROMPT, "--prompt", OTHER),
    ("verify", "{}", PROMPT),
    ("verify", "{}", PROMPT, "--explain"),
    ("inspect", "{}"),
    ("plan", "{}"),
)


def rows() -> Iterator[list[str]]:
    imports = _seconds("-c", "import torch, llama_cpp", runs=5)
    yield ["`import torch, llama_cpp`", f"{imports:.2f}", "1.0x"]
    first = _seconds("-m", "ggufjac", "--help", runs=5)
    yield ["`ggufjac --help`", f"{first:.2f}", f"{first / imports:.2f}x"]
    for model in MODELS:
        path = str(resolve(model))
        for words in COMMANDS:
            seconds = _seconds("-m", "ggufjac", *(word.format(path) for word in words))
            shown = " ".join(f'"{word}"' if " " in word else word.format(model) for word in words)
            yield [f"`ggufjac {shown}`", f"{seconds:.2f}", f"{seconds / imports:.1f}x"]


def _seconds(*arguments: str, runs: int = 1) -> float:
    """The fastest of some runs of Python after one that does not count."""

    def work() -> None:
        done = subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)
        if done.returncode > 1:  # 1: a check that fails has been made all the same
            raise RuntimeError(done.stderr)

    return timed(work, runs)[0]


def table() -> Table:
    return Table(HEADINGS, rows(), f'7 tokens ("{PROMPT}"), default options, from the command line to the report.')


def main() -> None:
    table().print()
