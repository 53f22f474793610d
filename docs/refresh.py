"""Run the commands that the pages show and put what they print in place of what stood there.

    python docs/refresh.py                    # README.md and every page
    python docs/refresh.py docs/layers.md     # these

A fenced block that begins with `$ ggufjac ...` is the command and its output on a terminal of 100 columns, or the first
lines of it where the command ends in `| head -N`. A block whose second line is `...` is left alone: its output is not
what the page is about, or takes hours. A block of Python under `<!-- run -->` makes files that later commands need.
Everything on one page runs in one temporary folder, from the first block to the last.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(
    r"""
    ^```\n\$[ ](?P<line>(?P<command>ggufjac[ ][^\n]*?)(?:[ ]\|[ ]head[ ]-(?P<first>\d+))?)\n(?!\.\.\.\n).*?^```$
    | ^<!--[ ]run[ ]-->\n```python\n(?P<code>.*?)^```$
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
WIDTH = 100


def output(arguments: Sequence[str], folder: str) -> str:
    """What Python prints on standard output; its exit status may be 1 (a check failed), not 2."""
    environment = os.environ | {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if ran.returncode > 1 or "Traceback" in ran.stderr:
        raise SystemExit(f"{shlex.join(arguments)}\n{ran.stderr}")
    return "".join(f"{line.rstrip()}\n" for line in ran.stdout.rstrip().splitlines())


def refresh(page: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:

        def anew(block: re.Match[str]) -> str:
            if block["code"] is not None:
                output(["-c", block["code"]], folder)
                return block[0]
            printed = output(["-m", *shlex.split(block["command"])], folder).splitlines(keepends=True)
            shown = printed if block["first"] is None else printed[: int(block["first"])]
            return f"```\n$ {block['line']}\n{''.join(shown)}```"

        page.write_text(BLOCK.sub(anew, page.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> None:
    pages = [Path(name) for name in sys.argv[1:]] or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        print(page, flush=True)
        refresh(page)


if __name__ == "__main__":
    main()
