"""`ggufjac analyze`: one prompt, explained."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggufjac.cli import common, options
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.analyses.agreement import Agreement
    from ggufjac.analyses.planning import What
    from ggufjac.analyses.prediction import Options
    from ggufjac.maps.detached import DetachedMap
    from ggufjac.maps.model import Model


#: Seconds from which on the expected time is told beforehand.
ANNOUNCED = 10.0


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
    options.add_how(command, quick=True)
    command.add_argument("--no-verify", action="store_true", help="do not ask llama.cpp for its prediction")
    add_outputs(command)
    command.set_defaults(run=run)


def add_outputs(command: argparse.ArgumentParser) -> None:
    """Where else the report goes."""
    command.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': to standard output instead)")
    command.add_argument("--save", metavar="FILE", help="write arrays and result as safetensors; see `ggufjac show`")
    command.add_argument("--svg", metavar="FILE", help="write the report as a picture")
    command.add_argument("--html", metavar="FILE", help="write the report as a page for the browser, all in one file")
    command.add_argument("--plot", metavar="DIR", help="draw pictures into this folder (with ggufjac[plots])")
    command.add_argument("--plot-format", choices=("svg", "png"), default="svg", help="of the pictures (default svg)")


def run(args: argparse.Namespace) -> int:
    from ggufjac.reports.files import publish

    options.require_consistent(args)
    common.require_outputs(args)
    prompt = common.read_prompt(args)
    if not prompt:
        raise UserError("the prompt is empty; give at least one character")
    with common.open_model(args.model) as model:
        import torch

        from ggufjac.analyses.following import beside_exact
        from ggufjac.analyses.judging import ask_llama
        from ggufjac.analyses.prediction import Options, analyze

        common.use_threads(args.threads)
        chosen = Options(
            top=args.top,
            tokens=args.tokens,
            target=None if args.target is None else options.token_called(model, args.target),
            ordinary=args.ordinary,
            **options.how(args),
        )

        _announce(model, prompt, chosen)

        def judge(linear: DetachedMap) -> tuple[Agreement | None, str]:
            if args.no_verify:
                return None, "--no-verify"
            if chosen.run == "llama.cpp":
                return beside_exact(model, linear), ""
            return ask_llama(model, linear, torch.get_num_threads())

        with common.spinner("analyzing") as progress, torch.no_grad():
            result = analyze(model, prompt, chosen, judge, progress)
    publish(result, args)
    return 0


def _announce(model: Model, prompt: str, chosen: Options) -> None:
    """What is to be expected of an analysis that takes longer than one likes to wait unprepared."""
    from ggufjac.analyses.planning import plan, worth_planning

    n_tokens = len(model.ids_of(prompt))
    if chosen.device != "cpu" or not worth_planning(model, n_tokens, chosen.top):
        return
    what: What = "analyze" if chosen.tokens == "both" else chosen.tokens
    expected = plan(model, n_tokens, what, top=chosen.top, memory=chosen.memory, dtype=chosen.dtype)
    if expected.seconds > ANNOUNCED:
        from rich.console import Console

        from ggufjac.reports.planning import line

        Console(stderr=True).print(line(expected))
