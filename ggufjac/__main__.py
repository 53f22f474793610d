"""Entry point of `ggufjac` and `python -m ggufjac`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; returns the exit status."""
    from ggufjac.cli.main import run
    from ggufjac.cli.standard import listen

    listen()
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
