"""`ggufjac generate`: what a model says."""

from __future__ import annotations

import argparse
import codecs
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ggufjac.analyses.options import GenerateOptions
from ggufjac.cli import common, options
from ggufjac.cli.standard import complain, say_text
from ggufjac.errors import UserError
from ggufjac.readable import harmless

if TYPE_CHECKING:
    from ggufjac.maps.model import Model

#: What of its options says how a text is written; the others say how a map is made.
TAKEN = ("tokens", "temperature", "top_p", "top_k", "seed", "dtype", "memory", "device", "threads")


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "generate",
        help="what a model says",
        description="Let a model go on with a prompt, in exact arithmetic, token by token, until it ends its turn. The "
        "text alone goes to standard output.",
    )
    common.add_model(command)
    common.add_prompt(command)
    options.add(command, GenerateOptions, only=TAKEN)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    chosen = GenerateOptions(**options.given(args, GenerateOptions))
    typed = common.read_prompt(args)
    with common.open_model(args.model) as model:
        from ggufjac.maps.notes import notes_of_file

        common.use_threads(common.threads_of(args))
        ids = model.ids_of(typed.on(model))
        for note in notes_of_file(model):
            complain(f"note: {note}")
        terminal = sys.stdout is not None and sys.stdout.isatty()  # a program gets the text as it is
        for text in said(model, ids, chosen):
            say_text(harmless(text) if terminal else text)
    say_text("\n")
    return 0


def said(model: Model, ids: list[int], chosen: GenerateOptions) -> Iterator[str]:
    """What the model goes on with, as it comes; a character whose bytes are not all there yet is waited for."""
    import torch

    from ggufjac.network.texts import Reading, goes_on

    n_tokens, room = chosen.tokens, model.family.n_ctx_train - len(ids)
    if room < n_tokens:
        raise UserError(f"the prompt's {len(ids)} tokens leave room for {room} more; ask for at most {room} (--tokens)")
    vocab = model.vocab
    reading = Reading(
        model.family, len(ids) + n_tokens, chosen.values_dtype, device=chosen.device, memory=chosen.memory
    )
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def ends(token: int) -> bool:
        return token < vocab.n_tokens and vocab.ends_text(token)

    for step in goes_on(reading, torch.tensor([ids]), n_tokens, chosen.sampling, ends):
        token = int(step.tokens[0])
        if ends(token):
            break
        yield decoder.decode(vocab.piece(token) if token < vocab.n_tokens else b"")
    yield decoder.decode(b"", final=True)
