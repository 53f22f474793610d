"""A record of options as flags of a command, and the flags that were given as a record."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from dataclasses import Field
from typing import TYPE_CHECKING, Any, TypeVar

from ggufjac.analyses.options import AnalysisOptions
from ggufjac.errors import UserError
from ggufjac.option import Flag, default_of, flag_of, options_of

if TYPE_CHECKING:
    from ggufjac.maps.model import Model
    from ggufjac.maps.options import MapOptions

Record = TypeVar("Record", bound="MapOptions")

#: What says how llama.cpp is run, where its run is explained.
LLAMA = ("run", "cache", "repack")
#: The precisions of a command that does not offer a quick look.
PRECISE = ("float32", "float64")


def add(
    command: argparse.ArgumentParser,
    kind: type[MapOptions],
    only: Collection[str] | None = None,
    without: Collection[str] = (),
) -> None:
    """Every option of a record as a flag, those of the analysis before those of all maps. A flag that is not given
    leaves nothing behind, so that what was said is told from what is usual."""
    every = options_of(kind)
    shared = {item.name for item in options_of(AnalysisOptions)}
    own = [item for item in every if item.name in kind.__annotations__ or item.name not in shared]
    for item in (*own, *(item for item in every if item not in own)):
        if flag_of(item).hidden or item.name in without or (only is not None and item.name not in only):
            continue
        if item.name in LLAMA and not kind.follows:
            continue
        _add(command, item, kind)


def given(args: argparse.Namespace, kind: type[MapOptions]) -> dict[str, Any]:
    """The options of a record that were given as flags.

    Raises UserError where llama.cpp's settings are among them and its run is not asked for.
    """
    found = {item.name: getattr(args, _dest(item)) for item in options_of(kind) if hasattr(args, _dest(item))}
    if found.get("run", "exact") == "exact" and ("cache" in found or "repack" in found):
        raise UserError("--cache and --repack say how llama.cpp is run; they go with --run llama.cpp")
    return found


def chosen(args: argparse.Namespace, kind: type[Record], model: Model) -> Record:
    """The record that the flags make, with the ids of the tokens that they name. Raises UserError for unknown ones."""
    from ggufjac.analyses.common.targets import token_called

    found = given(args, kind)
    for item in options_of(kind):
        if flag_of(item).token and item.name in found:
            words = found[item.name]
            names = [words] if isinstance(words, str) else words
            # a text of several tokens is cut where its prompt is known
            known = (
                name if flag_of(item).phrase and _is_phrase(model, name) else token_called(model, name, _flag(item))
                for name in names
            )
            ids = tuple(dict.fromkeys(known))
            found[item.name] = ids[0] if isinstance(words, str) else ids
        elif flag_of(item).several and item.name in found:
            found[item.name] = tuple(dict.fromkeys(found[item.name]))
    return kind(**found)


def _is_phrase(model: Model, text: str) -> bool:
    """Whether a text is several tokens."""
    from ggufjac.analyses.common.targets import token_of_text

    return bool(text) and not text.startswith("#") and token_of_text(model, text) is None


def _add(command: argparse.ArgumentParser, item: Field[Any], kind: type[MapOptions]) -> None:
    flag, default = flag_of(item), default_of(item)
    # argparse fills in what follows a percent sign
    more: dict[str, Any] = {"dest": _dest(item), "help": flag.help.replace("%", "%%"), "default": argparse.SUPPRESS}
    if item.name == "dtype" and not kind.quick:
        flag, more["help"] = Flag(flag.help, choices=PRECISE), "default float32"
    if isinstance(default, bool):
        command.add_argument(_flag(item), action="store_false" if flag.negated else "store_true", **more)
        return
    if flag.metavar is not None:
        more["metavar"] = flag.metavar
    if flag.choices:
        more["choices"] = flag.choices
    if flag.parse is not None:
        more["type"] = worded(flag.parse)
    if flag.several:
        more["nargs"] = "+"
    if flag.bare is not None:
        more |= {"nargs": "?", "const": flag.bare}
    command.add_argument(_flag(item), action="append" if flag.repeated else "store", **more)


def worded(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser of words whose ValueError argparse shows."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _dest(item: Field[Any]) -> str:
    return f"option_{item.name}"


def _flag(item: Field[Any]) -> str:
    return "--" + (flag_of(item).name or item.name).replace("_", "-")
