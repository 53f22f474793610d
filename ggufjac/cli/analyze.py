"""`ggufjac analyze`: one prompt, explained."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggufjac.cli import common
from ggufjac.cli.options import token_called
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
    command.add_argument(
        "--dtype",
        choices=("float32", "float64", "bfloat16"),
        default="float32",
        help="default float32; bfloat16: a quick look, right to about a percent",
    )
    command.add_argument("--path", choices=("up", "gate"), default="up", help="live factor of gated MLPs (default up)")
    common.add_memory(command)
    common.add_device(command)
    command.add_argument("--seed", type=int, default=0, help="of the random start of the singular vectors")
    common.add_threads(command)
    command.add_argument(
        "--run",
        dest="explained",
        choices=("exact", "llama.cpp"),
        default="exact",
        help="explain exact arithmetic on the file's weights (default), or llama.cpp's own run with all it rounds",
    )
    command.add_argument(
        "--cache", choices=("f16", "f32"), help="with --run llama.cpp: the type of its key/value cache (default f16)"
    )
    command.add_argument(
        "--repack", action="store_true", help="with --run llama.cpp: let it lay out weights anew for faster kernels"
    )
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
    from ggufjac.atomic import require_writable
    from ggufjac.reports.files import publish

    require_writable(args.json, args.save, args.svg, args.html)
    prompt = common.read_prompt(args)
    if not prompt:
        raise UserError("the prompt is empty; give at least one character")
    if args.explained == "exact" and (args.cache or args.repack):
        raise UserError("--cache and --repack say how llama.cpp is run; they go with --run llama.cpp")
    with common.open_model(args.model) as model:
        import torch

        from ggufjac.analyses.following import beside_exact
        from ggufjac.analyses.prediction import Options, analyze
        from ggufjac.maps.followed import Settings
        from ggufjac.maps.model import DTYPES

        common.use_threads(args.threads)
        options = Options(
            top=args.top,
            tokens=args.tokens,
            target=None if args.target is None else token_called(model, args.target),
            dtype=DTYPES[args.dtype],
            path=args.path,
            seed=args.seed,
            ordinary=args.ordinary,
            memory=args.memory,
            device=args.device,
            run=args.explained,
            llama=Settings(torch.get_num_threads(), args.cache or "f16", args.repack),
        )

        _announce(model, prompt, options)

        def judge(linear: DetachedMap) -> tuple[Agreement | None, str]:
            if args.no_verify:
                return None, "--no-verify"
            if options.run == "llama.cpp":
                return beside_exact(model, linear), ""
            return _ask_llama(model, linear, torch.get_num_threads())

        with common.spinner("analyzing") as progress, torch.no_grad():
            result = analyze(model, prompt, options, judge, progress)
    publish(result, args)
    return 0


def _announce(model: Model, prompt: str, options: Options) -> None:
    """What is to be expected of an analysis that takes longer than one likes to wait unprepared."""
    from ggufjac.analyses.planning import plan, worth_planning

    n_tokens = len(model.ids_of(prompt))
    if options.device != "cpu" or not worth_planning(model, n_tokens, options.top):
        return
    what: What = "analyze" if options.tokens == "both" else options.tokens
    expected = plan(model, n_tokens, what, top=options.top, memory=options.memory, dtype=options.dtype)
    if expected.seconds > ANNOUNCED:
        from rich.console import Console

        from ggufjac.reports.planning import line

        Console(stderr=True).print(line(expected))


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
