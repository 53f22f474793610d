"""`ggufjac tokenize`: a prompt's tokens, as the model is given them."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ggufjac.cli import common
from ggufjac.cli.standard import say, say_json

if TYPE_CHECKING:
    from ggufjac.chat.prompt import Prompt
    from ggufjac.maps.model import Model


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
    with common.open_model(args.model) as model:
        told = tokens_of(model, typed.on(model))
    if args.json:
        say_json(json.dumps({"schema": "ggufjac.tokens/1", **told}, indent=1, ensure_ascii=False))
        return 0
    from ggufjac.reports.tables.tokens import tokens_report

    say(tokens_report(told))
    return 0


def tokens_of(model: Model, prompt: Prompt) -> dict[str, Any]:
    """The prompt's text, notes on it, and of every token its position, id, text, whether it is special, and in a chat
    whose it is (None: the template's)."""
    from ggufjac.analyses.common.tokens import Speller
    from ggufjac.chat.prompt import role_at, turns_of
    from ggufjac.maps.notes import notes_of

    ids, speller = model.ids_of(prompt), Speller(model.vocab)
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
    return {"prompt": prompt.text, "notes": list(notes_of(model, prompt, ids)), "tokens": tokens}
