"""`ggufjac patch`: where two prompts come to differ, by putting the values of one into the run of the other."""

from __future__ import annotations

import argparse

from ggufjac.analyses.options import PatchOptions
from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common, options, prompts
from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.errors import UserError

EXAMPLE = '--clean "The capital of France is" --corrupt "The capital of Italy is" --target " Paris" --against " Rome"'


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "patch",
        help="where two prompts come to differ: one's values put into the other's run",
        usage="ggufjac patch MODEL --clean TEXT --corrupt TEXT [options]",
        description="Activation patching: the corrupt prompt is run with the clean prompt's value at one layer and "
        "position, of the stream, of what attention writes or of what the MLP writes. What each restores of the "
        "difference between the two, in real runs, beside what one backward sweep says by rules of linearisation.",
    )
    common.add_model(command)
    command.add_argument("--clean", metavar="TEXT", help="the prompt whose values are put in")
    command.add_argument("--corrupt", metavar="TEXT", help="the prompt that is run, of as many tokens")
    prompts.add(command, messages=False)
    options.add(command, PatchOptions)
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    missing = next((name for name in ("clean", "corrupt") if getattr(args, name) is None), None)
    if missing is not None:
        raise UserError(f"--{missing} is missing; write for example {EXAMPLE}")
    options.given(args, PatchOptions)
    require_outputs(args)
    pair = [prompts.meant(args, getattr(args, name)) for name in ("clean", "corrupt")]
    with common.open_model(args.model) as model:
        import torch

        common.use_threads(common.threads_of(args))
        chosen = options.chosen(args, PatchOptions, model)
        clean, corrupt = (prompt.on(model) for prompt in pair)
        with common.watched("patching") as progress, torch.no_grad():
            result = COMMANDS["patch"].function(model, clean, corrupt, chosen, progress)
    publish(result, args)
    return 0
