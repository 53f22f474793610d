"""Options declared once: a dataclass field says its default, its help and its flag, and all else follows.

From one record of options come the flags of a command (ggufjac.cli.options), the keys of a batch (ggufjac.batch.units)
and the signature of a Python function (`taking`). A record holds what a person said, in plain values that JSON can
write; what they mean is found where they are used.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from ggufjac.errors import UserError

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
Record = TypeVar("Record")
R = TypeVar("R")
P = ParamSpec("P")

#: The key in a field's metadata under which its `Flag` lies.
FLAG = "flag"


@dataclass(frozen=True)
class Flag:
    """What a command line says of an option.

    name: of the flag, without hyphens in front (None: the field's). parse: from a word to the value, ValueError where
    there is none. choices: the values there are. negated: the flag turns off what is on. repeated: it may be given
    several times. several: it takes several words. bare: the value where it stands alone. token: its words name tokens
    of the model; phrase: or texts of several tokens. resource: it changes no result, only what computing takes. hidden:
    there is no flag. short: what the same number is called where many analyses are run at once.
    """

    help: str
    name: str | None = None
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    choices: tuple[str, ...] = ()
    negated: bool = False
    repeated: bool = False
    several: bool = False
    bare: Any = None
    token: bool = False
    phrase: bool = False
    resource: bool = False
    hidden: bool = False
    short: str | None = None


def option(default: Any, help: str, *, kw_only: bool = True, **more: Any) -> Any:
    """A field of a record of options; more: as in `Flag`."""
    return field(default=default, kw_only=kw_only, metadata={FLAG: Flag(help, **more)})


def flag_of(item: Field[Any]) -> Flag:
    """What was said with `option`."""
    found: Flag = item.metadata[FLAG]
    return found


def options_of(kind: type[Any]) -> tuple[Field[Any], ...]:
    """The fields that were declared with `option`."""
    return tuple(item for item in fields(kind) if FLAG in item.metadata)


class Options:
    """What every record of options checks: where there are choices, it is one of them."""

    def __post_init__(self) -> None:
        for item in options_of(type(self)):
            choices, value = flag_of(item).choices, getattr(self, item.name)
            if choices and value not in choices and not (value is None and item.default is None):
                raise UserError(f"{item.name}: {value!r} is not supported; use {', '.join(choices)}")

    def identity(self) -> dict[str, Any]:
        """By name, all that a result depends on."""
        return {item.name: getattr(self, item.name) for item in options_of(type(self)) if not flag_of(item).resource}


def taking(kind: Callable[P, Record]) -> Callable[[Callable[[A, B, Record], R]], Callable[Concatenate[A, B, P], R]]:
    """Let a function of two things and a record of options take the options one by one, by their names.

    It raises UserError for a name that is no option, and suggests one.
    """
    return lambda function: _taking(kind, function, 2)


def taking_after_three(
    kind: Callable[P, Record],
) -> Callable[[Callable[[A, B, C, Record], R]], Callable[Concatenate[A, B, C, P], R]]:
    """The same for a function of three things."""
    return lambda function: _taking(kind, function, 3)


def _taking(kind: Any, function: Any, n: int) -> Any:
    @wraps(function)
    def call(*args: Any, **chosen: Any) -> Any:
        own = {name: chosen.pop(name) for name in names if name in chosen}
        require_known(kind, chosen)
        return function(*args[:n], **own, **{record: kind(*args[n:], **chosen)})

    parameters = list(inspect.signature(function).parameters.values())
    names, record = [parameter.name for parameter in parameters[:n]], parameters[n].name
    taken = inspect.signature(kind).parameters.values()
    call.__signature__ = inspect.Signature([*parameters[:n], *taken])  # type: ignore[attr-defined]
    return call


def require_known(kind: Any, chosen: dict[str, Any]) -> None:
    """Raise UserError for a name that is no option of this kind."""
    known = [item.name for item in fields(kind) if item.init]
    for name in chosen:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise UserError(f"there is no option {name!r}; {hint}")


def default_of(item: Field[Any]) -> Any:
    """A field's default; None where it has none."""
    return None if item.default is MISSING else item.default
