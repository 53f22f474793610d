"""`ggufjac generate`: what a model says."""

from __future__ import annotations

import argparse
import codecs
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ggufjac import parse
from ggufjac.cli import common, options
from ggufjac.cli.options import worded
from ggufjac.cli.standard import complain, say_text
from ggufjac.errors import UserError
from ggufjac.maps.options import MapOptions
from ggufjac.readable import harmless

if TYPE_CHECKING:
    from ggufjac.maps.model import Model
    from ggufjac.network.texts import Sampling

#: What of the options of a map says how a text is written.
TAKEN = ("dtype", "memory", "device", "threads")


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "generate",
        help="what a model says",
        description="Let a model go on with a prompt, in exact arithmetic, token by token, until it ends its turn. The "
        "text alone goes to standard output.",
    )
    common.add_model(command)
    common.add_prompt(command)
    command.add_argument("--tokens", type=worded(parse.positive), default=64, metavar="N", help="at most (default 64)")
    for name, read, default, metavar, means in (
        ("--temperature", parse.temperature, 0.0, "X", "0 (default): the likeliest token each time"),
        ("--top-p", parse.share, 1.0, "X", "draw from the likeliest that have this probability"),
        ("--top-k", parse.whole, 0, "K", "draw from the K likeliest"),
        ("--seed", parse.whole, 0, "N", "of what is drawn at random"),
    ):
        command.add_argument(name, type=worded(read), default=default, metavar=metavar, help=means)
    options.add(command, MapOptions, only=TAKEN)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    chosen = MapOptions(**options.given(args, MapOptions))
    typed = common.read_prompt(args)
    with common.open_model(args.model) as model:
        from ggufjac.maps.notes import notes_of_file
        from ggufjac.network.texts import Sampling

        common.use_threads(common.threads_of(args))
        ids = model.ids_of(typed.on(model))
        for note in notes_of_file(model):
            complain(f"note: {note}")
        sampling = Sampling(args.temperature, args.top_p, args.seed, args.top_k)
        terminal = sys.stdout is not None and sys.stdout.isatty()  # a program gets the text as it is
        for text in said(model, ids, args.tokens, sampling, chosen):
            say_text(harmless(text) if terminal else text)
    say_text("\n")
    return 0


def said(model: Model, ids: list[int], n_tokens: int, sampling: Sampling, chosen: MapOptions) -> Iterator[str]:
    """What the model goes on with, as it comes; a character whose bytes are not all there yet is waited for."""
    import torch

    from ggufjac.network.texts import Reading, goes_on

    room = model.family.n_ctx_train - len(ids)
    if room < n_tokens:
        raise UserError(f"the prompt's {len(ids)} tokens leave room for {room} more; ask for at most {room} (--tokens)")
    vocab = model.vocab
    reading = Reading(
        model.family, len(ids) + n_tokens, chosen.values_dtype, device=chosen.device, memory=chosen.memory
    )
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def ends(token: int) -> bool:
        return token < vocab.n_tokens and vocab.ends_text(token)

    for step in goes_on(reading, torch.tensor([ids]), n_tokens, sampling, ends):
        token = int(step.tokens[0])
        if ends(token):
            break
        yield decoder.decode(vocab.piece(token) if token < vocab.n_tokens else b"")
    yield decoder.decode(b"", final=True)
