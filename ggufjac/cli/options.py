"""What the commands of the analyses share: how a map is made, which tokens are meant, how a run begins."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ggufjac.cli import common
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.maps.model import Model


def add_how(command: argparse.ArgumentParser) -> None:
    """How the map is made."""
    command.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default float32")
    command.add_argument("--path", choices=("up", "gate"), default="up", help="live factor of gated MLPs (default up)")
    common.add_memory(command)
    common.add_device(command)
    command.add_argument("--seed", type=int, default=0, help="of whatever is drawn at random")
    common.add_threads(command)


def how(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_how` as those of an analysis."""
    from ggufjac.maps.model import DTYPES

    return {
        "dtype": DTYPES[args.dtype],
        "path": args.path,
        "memory": args.memory,
        "seed": args.seed,
        "device": args.device,
    }


@contextmanager
def opened(args: argparse.Namespace, what: str) -> Iterator[tuple[Model, str, Callable[[str], None]]]:
    """The model and the prompt that the arguments name, ready for an analysis, and whom to tell how it goes."""
    from ggufjac.atomic import require_writable

    require_writable(args.json, args.save, args.svg, args.html)
    prompt = common.read_prompt(args)
    if not prompt:
        raise UserError("the prompt is empty; give at least one character")
    with common.open_model(args.model) as model:
        import torch

        common.use_threads(args.threads)
        with common.spinner(what) as progress, torch.no_grad():
            yield model, prompt, progress


def token_called(model: Model, text: str, option: str = "--target") -> int:
    """The id of the token with exactly this text, or of #ID. Raises UserError where there is none."""
    if text.startswith("#") and text[1:].isdigit():
        number = int(text[1:])
        if number >= model.family.n_vocab:
            raise UserError(f"{option}: there is no token {number}; the vocabulary has {model.family.n_vocab} tokens")
        return number
    from ggufjac.llamacpp.vocab import TokenAttribute

    pieces = model.vocab.pieces()
    wanted = text.encode("utf-8", "surrogateescape")
    same = [i for i, piece in enumerate(pieces) if piece == wanted]
    if same:  # a letter can also be the token of its byte, which models hardly ever say
        return next((i for i in same if TokenAttribute.BYTE not in model.vocab.attributes(i)), same[0])
    near = [form for form in (b" " + wanted, wanted.strip()) if form in pieces]
    hint = f"; there is {near[0].decode('utf-8', 'replace')!r}" if near else "; give a token's whole text, or #ID"
    raise UserError(f"{option}: no token is {text!r}{hint}")
