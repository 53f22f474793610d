"""Lenses: what fitting one costs beside autograd, how soon it settles, and whether its readings hold what a model
thinks of on its way.

python -m benchmarks lens cost
python -m benchmarks lens settling --folder FOLDER
python -m benchmarks lens intermediates --model smollm2-135m --lens FILE
"""

from __future__ import annotations

import importlib
import sys

PARTS = ("cost", "settling", "intermediates")


def main() -> int:
    """The part that the first argument names, with the other arguments."""
    name, *rest = sys.argv[1:] or ("cost",)
    if name not in PARTS:
        print(f"no part {name!r}; python -m benchmarks lens {{{','.join(PARTS)}}} ...", file=sys.stderr)
        return 2
    sys.argv = [f"lens {name}", *rest]
    return int(importlib.import_module(f"benchmarks.lens.{name}").main() or 0)
