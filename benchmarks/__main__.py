"""Run benchmarks by name: `python -m benchmarks [NAME...]` (default: all), or one with arguments of its own.

python -m benchmarks full_map kernels
python -m benchmarks scale MODEL --tokens 4
python -m benchmarks results                # all of them, into benchmarks/RESULTS.md
python -m benchmarks device --quick         # whether a GPU is right, and how fast it is
"""

from __future__ import annotations

import importlib
import sys

NAMES = (
    "full_map",
    "rules",
    "precision",
    "layers",
    "ablate",
    "answer",
    "command",
    "plan",
    "kernels",
    "scale",
    "growth",
    "families",
    "followed",
    "faithfulness",
    "instructions",
    "lens",
    "patch",
)
#: Run alone: they write files, or want a process of their own.
ALONE = ("results", "synth", "device", "budgets", "steer")


def main() -> int:
    first, *rest = sys.argv[1:] or NAMES
    if first in ("-h", "--help"):
        print(__doc__)
        return 0
    if first in ALONE or (first in NAMES and rest and rest[0] not in NAMES):
        return run(first, rest)
    names = [first, *rest]
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join((*NAMES, *ALONE))}", file=sys.stderr)
        return 2
    return max(run(name, []) for name in names)


def run(name: str, arguments: list[str]) -> int:
    """One benchmark, which reads its own arguments; its exit status."""
    print(f"== {name}", flush=True)
    sys.argv = [name, *arguments]
    status = importlib.import_module(f"benchmarks.{name}").main()
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
