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

PROMPT = "The bridge out of Marin is the"
HEADINGS = ("command", "s", "median s", "ratio to the imports")


def rows() -> Iterator[list[str]]:
    path = str(resolve("smollm2-135m"))
    commands = {
        "import torch, llama_cpp": ["-c", "import torch, llama_cpp"],
        "ggufjac analyze smollm2-135m, 7 tokens, top 8": ["-m", "ggufjac", "analyze", path, PROMPT, "--top", "8"],
        "ggufjac --help": ["-m", "ggufjac", "--help"],
    }
    imports = 0.0
    for name, arguments in commands.items():

        def work(arguments: list[str] = arguments) -> object:
            return subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

        best, median = timed(work)
        imports = imports or best
        yield [name, f"{best:.2f}", f"{median:.2f}", f"{best / imports:.2f}x"]


def table() -> Table:
    return Table(HEADINGS, rows())


def main() -> None:
    table().print()
