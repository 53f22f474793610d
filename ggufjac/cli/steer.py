"""`ggufjac steer`: a text pushed towards words, along what sets two sets of texts apart, or by the
maps of a concept prompt; and the control vector for llama.cpp."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ggufjac.analyses.options import SteerOptions, SteerPairsOptions, SteerWordsOptions
from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common, options, prompts
from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.errors import UserError
from ggufjac.option import flag_of, options_of

if TYPE_CHECKING:
    from ggufjac.chat.prompt import PromptLike
    from ggufjac.maps.model import Model

PAIRS, WORDS, OPERATOR = "steer_pairs", "steer_words", "steer"
KINDS: dict[str, type[SteerOptions]] = {PAIRS: SteerPairsOptions, WORDS: SteerWordsOptions, OPERATOR: SteerOptions}
#: What names the two sets of texts.
SETS = ("positive", "negative")
#: Options that not all ways of steering have, and what they go with.
OF_SETS = "--positive and --negative"
GO_WITH = {
    "direction": ((PAIRS,), OF_SETS),
    "at": ((PAIRS,), OF_SETS),
    "ablate": ((PAIRS,), OF_SETS),
    "ablate_layers": ((PAIRS,), OF_SETS),
    "directions": ((OPERATOR,), "--concept TEXT --method operator or end"),
    "neutral": ((PAIRS, WORDS), f"{OF_SETS}, --say, or --concept without --method operator or end"),
    "say": ((WORDS,), "no --concept and no sets of texts: it names the words itself"),
}


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "steer",
        help="push a text towards words, the concept of another prompt, or a set of texts",
        description="Let prompts go on while their stream is pushed at one layer, beside the text that is not steered: "
        "towards words (--say, or the own words of --concept), along what sets one set of texts apart from another "
        "(--positive, --negative), or by the maps of a concept prompt (--concept, --method operator). Each can be "
        "written as a control vector for llama.cpp.",
    )
    common.add_model(command)
    command.add_argument("--concept", metavar="TEXT", help="the prompt whose words, or whose maps, steer")
    command.add_argument(
        "--method",
        choices=("words", "end", "operator"),
        help="of a concept: towards its words (default, where the model's stream has one plane), along what its maps "
        "write at its end, or by the published operator, its maps applied to the text",
    )
    options.add(command, SteerWordsOptions, only=("say",))
    for name in SETS:
        command.add_argument(
            f"--{name}",
            metavar="FILE",
            help=f"the {name} texts: one in each line, or .jsonl, .json, .csv (chats too); with --chat each line is a "
            "user's message",
        )
    command.add_argument(
        "--prompt",
        metavar="TEXT",
        action="append",
        default=[],
        help="what to go on with; may be repeated; '-' or nothing reads standard input",
    )
    command.add_argument("--prompt-file", metavar="FILE", help="read that from a UTF-8 file, as it is")
    prompts.add(command)
    options.add(command, SteerPairsOptions)
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable

    say = "say" in options.given(args, SteerWordsOptions)
    way = _way(args, say)
    given = {**options.given(args, SteerPairsOptions), **options.given(args, SteerWordsOptions)}
    _require_meant(given, (WORDS, OPERATOR) if way is None else (way,))
    require_writable(given.get("export"))
    require_outputs(args, given.get("export"))
    first, *more = args.prompt or [None]
    typed = [prompts.read(args, first, args.prompt_file), *(prompts.meant(args, text) for text in more)]
    with common.open_model(args.model) as model:
        import torch

        from ggufjac.analyses.steer.writing import require_steerable

        common.use_threads(common.threads_of(args))
        if way is None:
            way = WORDS if model.family.leaving == model.family.d else OPERATOR
            _require_meant(given, (way,))
        chosen = options.chosen(args, KINDS[way], model)
        prompt, *further = [each.on(model) for each in typed]
        chosen = replace(chosen, more=tuple(further), along="end" if args.method == "end" else "text")
        # before it is told how long it takes
        for each in (prompt, *further):
            require_steerable(model, len(model.ids_of(each)), chosen)
        with torch.no_grad():
            if way == OPERATOR:
                with common.analysis_watched("steering", OPERATOR, [(model, args.concept)], chosen) as progress:
                    result = COMMANDS[OPERATOR].function(model, args.concept, prompt, chosen, progress)
            else:
                sets = [_texts(args, model, getattr(args, name)) for name in SETS] if way == PAIRS else [args.concept]
                with common.watched("steering") as progress:
                    result = COMMANDS[way].function(model, *sets, prompt, chosen, progress)
    publish(result, args)
    return 0


def _way(args: argparse.Namespace, say: bool) -> str | None:
    """Which way of steering is meant; None: a concept's, by what the model allows.

    Raises UserError where there is none or more than one.
    """
    of_sets = [name for name in SETS if getattr(args, name) is not None]
    ways = [
        name
        for name, there in (("--concept", args.concept is not None), ("--say", say), (OF_SETS, bool(of_sets)))
        if there
    ]
    if len(ways) > 1:
        raise UserError(f"give either {ways[0]} or {ways[1]}, not both")
    if not ways:
        raise UserError(
            '--concept is missing: the prompt that steers, for example --concept "The Golden Gate"; or name words, '
            '--say " bridge", or give two sets of texts, --positive FILE --negative FILE'
        )
    if args.method is not None and args.concept is None:
        raise UserError("--method says how a concept steers; it goes with --concept")
    if of_sets:
        if len(of_sets) < len(SETS):
            raise UserError(f"--{of_sets[0]} needs the other set beside it: --positive FILE --negative FILE")
        return PAIRS
    if say:
        return WORDS
    if not args.concept:
        raise UserError("the concept is empty; give at least one character")
    return {None: None, "words": WORDS, "end": OPERATOR, "operator": OPERATOR}[args.method]


def _require_meant(given: dict[str, Any], possible: tuple[str, ...]) -> None:
    """Raise UserError for options that are of another way of steering, or go with one that is not there."""
    every = {item.name: item for kind in KINDS.values() for item in options_of(kind)}
    for name in given:
        ways, told = GO_WITH.get(name, (tuple(KINDS), ""))
        if not set(possible) & set(ways):
            flag = "--" + (flag_of(every[name]).name or name).replace("_", "-")
            raise UserError(f"{flag} goes with {told}")
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
