"""`ggufjac analyze`: one prompt, explained."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggufjac.cli import common
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.analyses.agreement import Agreement
    from ggufjac.maps.detached import DetachedMap
    from ggufjac.maps.model import Model


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "analyze",
        help="explain the prediction of one prompt",
        description="The exact linear map of one prompt: what each input token gives to the prediction, and which "
        "tokens the leading singular vectors read and write.",
    )
    common.add_model(command)
    common.add_prompt(command)
    command.add_argument("--top", type=common.positive, default=8, metavar="K", help="singular triplets (default 8)")
    command.add_argument(
        "--tokens",
        choices=("each", "combined", "both"),
        default="both",
        help="the map of each input token, of all together, or both (default)",
    )
    command.add_argument("--target", metavar="TOKEN", help="attribute this token's logit: its text, or #ID")
    command.add_argument("--ordinary", action="store_true", help="the ordinary Jacobian's reconstruction error as well")
    command.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default float32")
    command.add_argument("--path", choices=("up", "gate"), default="up", help="live factor of gated MLPs (default up)")
    command.add_argument("--memory", type=common.byte_count, metavar="SIZE", help="for values in flight, e.g. 8GiB")
    command.add_argument("--seed", type=int, default=0, help="of the random start of the singular vectors")
    common.add_threads(command)
    command.add_argument("--no-verify", action="store_true", help="do not ask llama.cpp for its prediction")
    add_outputs(command)
    command.set_defaults(run=run)


def add_outputs(command: argparse.ArgumentParser) -> None:
    """Where else the report goes."""
    command.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': to standard output instead)")
    command.add_argument("--save", metavar="FILE", help="write arrays and result as safetensors; see `ggufjac show`")
    command.add_argument("--svg", metavar="FILE", help="write the report as a picture")
    command.add_argument("--html", metavar="FILE", help="write the report as a page")


def run(args: argparse.Namespace) -> int:
    from ggufjac.reports import files

    files.require_writable(args.json, args.save, args.svg, args.html)
    prompt = common.read_prompt(args)
    if not prompt:
        raise UserError("the prompt is empty; give at least one character")
    with common.open_model(args.model) as model:
        import torch

        from ggufjac.analyses.prediction import Options, analyze
        from ggufjac.maps.model import DTYPES

        common.use_threads(args.threads)
        options = Options(
            top=args.top,
            tokens=args.tokens,
            target=None if args.target is None else _target(model, args.target),
            dtype=DTYPES[args.dtype],
            path=args.path,
            seed=args.seed,
            ordinary=args.ordinary,
            memory=args.memory,
        )

        def judge(linear: DetachedMap) -> tuple[Agreement | None, str]:
            return (None, "--no-verify") if args.no_verify else _ask_llama(model, linear, torch.get_num_threads())

        with common.spinner("analyzing") as progress, torch.no_grad():
            result, arrays = analyze(model, prompt, options, judge, progress)
    files.publish(result, arrays, args)
    return 0


def _ask_llama(model: Model, linear: DetachedMap, threads: int) -> tuple[Agreement | None, str]:
    """llama.cpp's own logits on the file as it is; a model that it cannot run does not stop the analysis."""
    from ggufjac.analyses.agreement import ROUNDING, compare
    from ggufjac.llamacpp.run import Runner

    try:
        with Runner(model.file.path, n_ctx=len(linear.tokens), threads=threads) as runner:
            theirs = runner.logits(linear.tokens)
    except UserError as error:
        return None, str(error)
    return compare(linear.logits.numpy(), theirs, ROUNDING), ""


def _target(model: Model, text: str) -> int:
    """The id of the token with exactly this text, or of #ID."""
    if text.startswith("#") and text[1:].isdigit():
        return int(text[1:])
    from ggufjac.llamacpp.vocab import TokenAttribute

    pieces = model.vocab.pieces()
    wanted = text.encode("utf-8", "surrogateescape")
    same = [i for i, piece in enumerate(pieces) if piece == wanted]
    if same:  # a letter can also be the token of its byte, which models hardly ever say
        return next((i for i in same if TokenAttribute.BYTE not in model.vocab.attributes(i)), same[0])
    near = [form for form in (b" " + wanted, wanted.strip()) if form in pieces]
    hint = f"; there is {near[0].decode('utf-8', 'replace')!r}" if near else "; give a token's whole text, or #ID"
    raise UserError(f"--target: no token is {text!r}{hint}")
