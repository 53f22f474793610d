"""`ggufjac compare`: prompts, models, and quantisations of one model, beside each other; and with --by, what became of
predictions from one quantisation to another, tensor by tensor."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ggufjac.analyses.options import CompareOptions, CompareTensorsOptions
from ggufjac.analyses.table import COMMANDS
from ggufjac.cli import common, options, prompts
from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.cli.prompts import TypedPrompt
from ggufjac.errors import UserError
from ggufjac.option import flag_of, options_of

if TYPE_CHECKING:
    from ggufjac.batch.prompts import PromptLine

USAGE = 'write it as: ggufjac compare MODEL MODEL "PROMPT", or: ggufjac compare MODEL --prompt "ONE" --prompt "TWO"'
USAGE_BY = 'write it as: ggufjac compare ONE.gguf OTHER.gguf "PROMPT" ["PROMPT" ...] --by tensor'
#: Options of the second way of comparing alone.
BY_ALONE = tuple(name for name in CompareTensorsOptions.__annotations__ if name not in CompareOptions.__annotations__)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "compare",
        help="prompts, models and quantisations beside each other",
        usage="ggufjac compare MODEL [MODEL ...] PROMPT [options]\n"
        "       ggufjac compare MODEL [MODEL ...] (--prompt TEXT | --prompts FILE | --prompt-file FILE) ... [options]\n"
        "       ggufjac compare MODEL MODEL [PROMPT ...] --by (tensor | layer | type) [options]",
        description="What the maps of several prompts, models or quantisations of one model share, and what moved: "
        "concepts, predictions, and what each input token gives to them. The last word is the prompt, unless --prompt "
        "or --prompts gives some. The first model, and on it the first prompt, is what the others are compared with. "
        "With --by, of two quantisations of one model: what each tensor of the second did to the prediction, exactly.",
    )
    command.add_argument("words", metavar="MODEL ... PROMPT", nargs="+", help="GGUF files or names, then the prompt")
    command.add_argument(
        "--prompt", dest="texts", action="append", default=[], metavar="TEXT", help="a prompt; may be repeated"
    )
    command.add_argument("--prompts", dest="file", metavar="FILE", help="prompts, one per line; or a .jsonl of them")
    command.add_argument("--prompt-file", metavar="FILE", help="a prompt from a UTF-8 file, as it is")
    prompts.add(command, repeated=True)
    options.add(command, CompareTensorsOptions)
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    given_options = options.given(args, CompareTensorsOptions)
    if "by" in given_options:
        return _by_tensors(args)
    for item in options_of(CompareTensorsOptions):
        if item.name in BY_ALONE and item.name in given_options:
            flag = "--" + (flag_of(item).name or item.name).replace("_", "-")
            raise UserError(f"{flag} goes with --by, which compares two quantisations of one model tensor by tensor")
    require_outputs(args)
    names, given = sides(args)
    with ExitStack() as opened:
        models = [opened.enter_context(common.open_model(name)) for name in names]
        import torch

        common.use_threads(common.threads_of(args))
        chosen = options.chosen(args, CompareOptions, models[0])
        texts = [prompt.on(models[0]) if isinstance(prompt, TypedPrompt) else prompt for prompt in given]
        pairs = [(model, prompt) for model in models for prompt in texts]
        with common.analysis_watched("comparing", "compare", pairs, chosen) as progress, torch.no_grad():
            result = COMMANDS["compare"].function(models, texts, chosen, progress)
    publish(result, args)
    return 0


def _by_tensors(args: argparse.Namespace) -> int:
    require_outputs(args)
    names, given = two_files(args)
    if args.prompt_file is not None and not hasattr(args, "option_positions"):
        args.option_positions = "all"
    with ExitStack() as opened:
        one, other = (opened.enter_context(common.open_model(name)) for name in names)
        common.use_threads(common.threads_of(args))
        chosen = options.chosen(args, CompareTensorsOptions, one)
        texts = [prompt.on(one) if isinstance(prompt, TypedPrompt) else prompt for prompt in given]
        with common.watched("comparing") as progress:
            result = COMMANDS["compare_tensors"].function(one, other, texts, chosen, progress)
    publish(result, args)
    return 1 if result.exceeds else 0


def two_files(args: argparse.Namespace) -> tuple[list[str], list[TypedPrompt | Sequence[int]]]:
    """The two files that are compared tensor by tensor, and the prompts. Raises UserError where there are none."""
    names, typed = args.words[:2], args.words[2:]
    if len(names) < 2:
        raise UserError(f"--by needs two quantisations of one model; {USAGE_BY}")
    for name in names:
        _require_model(name, given=True)
    for word in typed:
        if _is_model(word):
            raise UserError(f"{word} is a third model; --by compares two, and the words behind them are prompts")
    given: list[TypedPrompt | Sequence[int]] = [prompts.meant(args, text) for text in typed]
    given += _named(args)
    if not given:
        raise UserError(f"there is no prompt; {USAGE_BY}, or give a text as --prompt-file FILE")
    return names, given


def _is_model(word: str) -> bool:
    from ggufjac.registry import resolve

    try:
        resolve(word)
    except UserError:
        return False
    return True


def _named(args: argparse.Namespace) -> list[TypedPrompt | Sequence[int]]:
    """The prompts that flags give."""
    given: list[TypedPrompt | Sequence[int]] = list(prompts.several(args, args.texts))
    if args.file is not None:
        given += _from_file(args.file, args)
    if args.prompt_file is not None:
        given.append(prompts.from_file(args, args.prompt_file))
    return given


def sides(args: argparse.Namespace) -> tuple[list[str], list[TypedPrompt | Sequence[int]]]:
    """The models' names and the prompts. Raises UserError where they are not at least two sides to compare."""
    names: list[str] = list(args.words)
    given = _named(args)
    if not given:
        last = names.pop()
        _require_prompt(last, names)
        given = [prompts.meant(args, last)]
    if len(names) * len(given) < 2:
        raise UserError(f"one prompt on one model is nothing to compare; {USAGE}")
    for name in names:
        _require_model(name, given=bool(args.texts or args.file or args.messages or args.prompt_file))
    return names, given


def _from_file(path: str, args: argparse.Namespace) -> list[TypedPrompt | Sequence[int]]:
    from ggufjac.batch.prompts import read_prompts

    lines = read_prompts(path)
    targets = [line for line in lines if line.target is not None]
    if targets:
        raise UserError(f"{path}, line {targets[0].line}: a comparison follows one target everywhere; give --target")
    return [_of_line(line, args) for line in lines]


def _of_line(line: PromptLine, args: argparse.Namespace) -> TypedPrompt | Sequence[int]:
    if line.messages:
        return TypedPrompt("", line.messages, args.template, not args.no_special, args.bos)
    return prompts.made(args, line.prompt) if isinstance(line.prompt, str) else line.prompt


def _require_prompt(last: str, models: Sequence[str]) -> None:
    """Complain where the last word is a model, or looks like one, so that the prompt must have been forgotten."""
    from ggufjac.registry import resolve

    if not models:
        raise UserError(f"{last!r} alone is nothing to compare; {USAGE}")
    try:
        resolve(last)
    except UserError as error:
        if last.lower().endswith(".gguf"):
            raise UserError(f"{error}; if it is the prompt, give it as --prompt TEXT") from None
        return
    raise UserError(f"{last} is a model, and no prompt is left; add one, or give it as --prompt TEXT if it is one")


def _require_model(name: str, *, given: bool) -> None:
    """Complain about a word that means no model; it may have been meant as one of several prompts."""
    from ggufjac.registry import resolve

    try:
        resolve(name)
    except UserError as error:
        hint = "" if given or " " not in name else "; only the last word is a prompt, give several as --prompt TEXT"
        raise UserError(f"{error}{hint}") from None
