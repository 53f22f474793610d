"""`ggufjac tokenize`: a prompt's tokens, as the model is given them."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ggufjac.cli import common
from ggufjac.cli.standard import say, say_json
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.chat.prompt import Prompt
    from ggufjac.maps.textfile import TextFile


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "tokenize",
        help="a prompt's tokens: ids and texts",
        description="The tokens of a prompt as every analysis reads it: positions, ids (for --target #ID), texts, and "
        "which of them are special.",
    )
    common.add_model(command)
    common.add_prompt(command)
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    typed = common.read_prompt(args)
    with _opened(args.model) as file:
        told = tokens_of(file, typed.on(file))
    if args.json:
        say_json(json.dumps({"schema": "ggufjac.tokens/1", **told}, indent=1, ensure_ascii=False))
        return 0
    from ggufjac.reports.tables.tokens import tokens_report

    say(tokens_report(told))
    return 0


def _opened(name: str) -> TextFile:
    """The file that MODEL names, for its tokens alone: what is wrong with its other keys and weights does not matter.
    Raises UserError where it has no tokenizer, and says what it is where it is no model."""
    from ggufjac.maps.textfile import TextFile
    from ggufjac.reader import GGUFFile
    from ggufjac.reader.kinds import other_kind
    from ggufjac.registry import resolve

    file = TextFile(GGUFFile.open(resolve(name)))
    other = other_kind(file.file)
    if other is not None and file.untokenized is not None:
        file.close()
        raise UserError(f"{file.file.path}: this is {other}")
    return file


def tokens_of(file: TextFile, prompt: Prompt) -> dict[str, Any]:
    """The prompt's text, notes on it, and of every token its position, id, text, whether it is special, and in a chat
    whose it is (None: the template's)."""
    from ggufjac.analyses.common.tokens import Speller
    from ggufjac.chat.prompt import role_at, turns_of
    from ggufjac.maps.notes import notes_of_prompt

    ids, speller = file.ids_of(prompt), Speller(file.vocab)
    turns = turns_of(prompt, [speller.raw(i) for i in ids])
    tokens = [
        {
            "position": t,
            "id": token,
            "text": speller.piece(token).text,
            "special": speller.special(token),
            "role": role_at(turns, t),
        }
        for t, token in enumerate(ids)
    ]
    return {"prompt": prompt.text, "notes": list(notes_of_prompt(file, prompt, ids)), "tokens": tokens}
