"""Entry point of `ggufjac` and `python -m ggufjac`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; returns the exit status."""
    from ggufjac.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
