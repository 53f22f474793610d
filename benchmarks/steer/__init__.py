"""Ways of steering, compared, and why the published operator says so little.

python -m benchmarks steer methods --save FILE
python -m benchmarks steer changes
"""

from __future__ import annotations

import importlib
import sys

PARTS = ("methods", "changes")


def main() -> int:
    """The part that the first argument names, with the other arguments."""
    name, *rest = sys.argv[1:] or ("methods",)
    if name not in PARTS:
        print(f"no part {name!r}; python -m benchmarks steer {{{','.join(PARTS)}}} ...", file=sys.stderr)
        return 2
    sys.argv = [f"steer {name}", *rest]
    return int(importlib.import_module(f"benchmarks.steer.{name}").main() or 0)
