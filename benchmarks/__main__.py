"""Run benchmarks by name: `python -m benchmarks [full_map] [command] [kernels] [families]` (default: all)."""

from __future__ import annotations

import importlib
import sys

NAMES = ("full_map", "command", "kernels", "families")


def main() -> int:
    names = sys.argv[1:] or list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names:
        print(f"== {name}", flush=True)
        sys.argv = [name]  # a benchmark that takes arguments of its own is run by itself
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
