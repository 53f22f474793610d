"""The one exception that stands for a user's mistake or a bad file.

The command line prints its message as one line and exits with status 2; every other exception is a bug
and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """What is wrong, where, and what would work instead: one line that a person can act on."""
