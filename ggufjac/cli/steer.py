"""`ggufjac steer`: a text pushed towards the concept of another prompt, or along what sets two sets of texts apart, and
the control vector for llama.cpp."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ggufjac.analyses.options import SteerOptions, SteerPairsOptions
from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common, options, prompts
from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.errors import UserError
from ggufjac.option import flag_of, options_of

if TYPE_CHECKING:
    from ggufjac.chat.prompt import PromptLike
    from ggufjac.maps.model import Model

PAIRS = SteerPairsOptions
#: What names the two sets of texts.
SETS = ("positive", "negative")
#: Options of one way of steering alone.
PAIRS_ALONE = tuple(name for name in PAIRS.__annotations__ if name not in SteerOptions.__annotations__)
CONCEPT_ALONE = ("directions",)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "steer",
        help="push a text towards the concept of another prompt, or of a set of texts",
        description="Let a prompt go on while its stream is pushed at one layer, beside the text that is not steered: "
        "along what sets one set of texts apart from another (--positive, --negative), or by the maps of a concept "
        "prompt (--concept). Either can be written as a control vector for llama.cpp.",
    )
    common.add_model(command)
    command.add_argument("--concept", metavar="TEXT", help="the prompt whose maps steer")
    for name in SETS:
        command.add_argument(
            f"--{name}",
            metavar="FILE",
            help=f"the {name} texts: one in each line, or .jsonl, .json, .csv (chats too); with --chat each line is a "
            "user's message",
        )
    command.add_argument("--prompt", metavar="TEXT", help="what to go on with; '-' or nothing reads standard input")
    command.add_argument("--prompt-file", metavar="FILE", help="read that from a UTF-8 file, as it is")
    prompts.add(command)
    options.add(command, SteerPairsOptions)
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable

    of_sets = [name for name in SETS if getattr(args, name) is not None]
    if of_sets:
        if args.concept is not None:
            raise UserError("give either --concept or --positive and --negative, not both")
        if len(of_sets) < len(SETS):
            raise UserError(f"--{of_sets[0]} needs the other set beside it: --positive FILE --negative FILE")
        kind: type[SteerOptions] = SteerPairsOptions
    else:
        kind = SteerOptions
        _require_concept(args)
    given = options.given(args, SteerPairsOptions)
    _require_meant(given, bool(of_sets))
    require_writable(given.get("export"))
    require_outputs(args, given.get("export"))
    typed = common.read_prompt(args)
    with common.open_model(args.model) as model:
        import torch

        from ggufjac.analyses.steer.writing import require_steerable

        common.use_threads(common.threads_of(args))
        chosen = options.chosen(args, kind, model)
        prompt = typed.on(model)
        # before it is told how long it takes
        require_steerable(model, len(model.ids_of(prompt)), chosen)
        with torch.no_grad():
            if of_sets:
                sets = [_texts(args, model, getattr(args, name)) for name in SETS]
                with common.watched("steering") as progress:
                    result = COMMANDS["steer_pairs"].function(model, *sets, prompt, chosen, progress)
            else:
                with common.analysis_watched("steering", "steer", [(model, args.concept)], chosen) as progress:
                    result = COMMANDS["steer"].function(model, args.concept, prompt, chosen, progress)
    publish(result, args)
    return 0


def _require_concept(args: argparse.Namespace) -> None:
    if args.concept is None:
        raise UserError(
            '--concept is missing: the prompt whose maps steer, for example --concept "The Golden Gate"; or give two '
            "sets of texts, --positive FILE --negative FILE"
        )
    if not args.concept:
        raise UserError("the concept is empty; give at least one character")


def _require_meant(given: dict[str, Any], sets: bool) -> None:
    """Raise UserError for options that are of the other way of steering, or go with one that is not there."""
    flags = {item.name: "--" + (flag_of(item).name or item.name).replace("_", "-") for item in options_of(PAIRS)}
    wrong = [name for name in given if name in (CONCEPT_ALONE if sets else PAIRS_ALONE)]
    if wrong:
        other = "--concept" if sets else "--positive and --negative"
        raise UserError(f"{flags[wrong[0]]} goes with {other}")
    if "export" not in given and ("export_layers" in given or "directions" in given):
        raise UserError("--export-layers and --direction say what a control vector holds; they go with --export FILE")


def _texts(args: argparse.Namespace, model: Model, path: str) -> list[PromptLike]:
    """The texts of a set, or its chats, as the flags say. Raises UserError where they cannot be read."""
    from ggufjac.batch.prompts import read_prompts

    found: list[PromptLike] = []
    for line in read_prompts(path):
        if line.messages:
            found.append(model.chat(line.messages, template=args.template))
        elif isinstance(line.prompt, str):
            found.append(prompts.made(args, line.prompt).on(model))
        else:
            found.append(line.prompt)
    return found
