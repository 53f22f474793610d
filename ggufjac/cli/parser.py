"""The argument parser: a mistake is one line that says what would work, with a suggestion where something is near."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from ggufjac.cli.standard import say_text
from ggufjac.errors import UserError

#: What other tools and other spellings call a command.
MEANT = {
    "analyse": "analyze",
    "explain": "attribute",
    "attention": "attribute",
    "attributions": "attribute",
    "logit-lens": "layers",
    "chat": "generate",
    "complete": "generate",
    "tokens": "tokenize",
    "ablation": "ablate",
    "download": "pull",
    "list": "models",
    "ls": "models",
    "info": "inspect",
    "batch": "run",
    "check": "verify",
    "diff": "compare",
}
#: What is a number that begins with a hyphen, and no option; those that are no numbers too, so that their own parser
#: says what would do.
NEGATIVE = re.compile(r"-(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|inf(?:inity)?|nan)$", re.IGNORECASE)
_CHOICE = re.compile(r"argument (?P<name>.*?): invalid choice: (?P<given>'.*?'|\S+) \(choose from (?P<known>.*)\)")


class _Once(argparse.Action):
    """A flag that may be given once; the last of several would win without a word."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if option is not None:
            given: set[str] = namespace.__dict__.setdefault("given", set())
            if self.dest in given:
                parser.error(f"{option} was given twice; it takes one value")
            given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UserError instead of printing its usage."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})
        for name in (None, "store"):
            self.register("action", name, _Once)
        self._negative_number_matcher = NEGATIVE  # argparse's own knows no exponents

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help or the version. Raises UserError where that cannot be written, which argparse lets pass."""
        say_text(message)

    def error(self, message: str) -> NoReturn:
        raise UserError(self._improved(message))

    def unknown(self, words: Iterable[str]) -> NoReturn:
        """Complain about words that mean nothing here."""
        word = next((word for word in words if word.startswith("-")), next(iter(words)))
        flag = word.split("=")[0]
        known = [name for action in self._actions for name in action.option_strings]
        if not flag.startswith("-"):
            raise UserError(f"{word!r} is one word too many; put a prompt into quotes, or see {self.prog} --help")
        raise UserError(f"there is no option {flag}{_hint(flag, known)}; {self.prog} --help lists all")

    def _improved(self, message: str) -> str:
        found = _CHOICE.match(message)
        if found is None:
            return f"{message.removeprefix('argument ')}; {self.prog} --help says more"
        given = found["given"].strip("'")
        known = [name.strip(" '") for name in found["known"].split(",")]
        if found["name"] == "COMMAND":
            return f"there is no command {given!r}{_hint(given, known, MEANT)}; ggufjac --help lists all"
        return f"{found['name']}: {given!r} is not among {', '.join(known)}{_hint(given, known)}"


def _hint(given: str, known: Iterable[str], meant: dict[str, str] | None = None) -> str:
    near = (meant or {}).get(given) or next(iter(difflib.get_close_matches(given, list(known), 1, 0.6)), None)
    return "" if near is None else f"; did you mean {near}?"
