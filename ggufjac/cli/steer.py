"""`ggufjac steer`: a text pushed towards the concept of another prompt, and the control vector for llama.cpp."""

from __future__ import annotations

import argparse

from ggufjac.analyses.options import SteerOptions
from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common, options, prompts
from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.errors import UserError

ENTRY = COMMANDS["steer"]


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "steer",
        help="push a text towards the concept of another prompt",
        description="Let a prompt go on while the maps of a concept prompt push its stream at one layer, beside the "
        "text that is not steered; or write the concept as a control vector for llama.cpp.",
    )
    common.add_model(command)
    command.add_argument("--concept", metavar="TEXT", help="the prompt whose maps steer (required)")
    command.add_argument("--prompt", metavar="TEXT", help="what to go on with; '-' or nothing reads standard input")
    command.add_argument("--prompt-file", metavar="FILE", help="read that from a UTF-8 file, as it is")
    prompts.add(command)
    options.add(command, SteerOptions)
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable

    if args.concept is None:
        raise UserError('--concept is missing: the prompt whose maps steer, for example --concept "The Golden Gate"')
    if not args.concept:
        raise UserError("the concept is empty; give at least one character")
    given = options.given(args, SteerOptions)
    if "export" not in given and ("export_layers" in given or "directions" in given):
        raise UserError("--export-layers and --direction say what a control vector holds; they go with --export FILE")
    require_writable(given.get("export"))
    require_outputs(args, given.get("export"))
    typed = common.read_prompt(args)
    with common.open_model(args.model) as model:
        import torch

        common.use_threads(common.threads_of(args))
        chosen = options.chosen(args, SteerOptions, model)
        prompt = typed.on(model)
        with common.analysis_watched("steering", "steer", [(model, args.concept)], chosen) as progress, torch.no_grad():
            result = ENTRY.function(model, args.concept, prompt, chosen, progress)
    publish(result, args)
    return 0
