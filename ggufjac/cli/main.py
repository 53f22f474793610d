"""The command line: arguments are read before anything heavy is imported; a user's mistake is one line and status 2."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from ggufjac.cli import (
    ablate,
    analyze,
    answer,
    attribute,
    compare,
    extremes,
    families,
    generate,
    inspect,
    layers,
    lens,
    models,
    ordinary,
    patch,
    plan,
    show,
    standard,
    steer,
    tokenize,
    verify,
)
from ggufjac.cli import run as batches
from ggufjac.cli.parser import Parser
from ggufjac.errors import UserError
from ggufjac.version import __version__

EPILOG = """\
MODEL is a path to a GGUF file, a name from `ggufjac models`, or the name of a model that llama.cpp, Ollama, LM Studio,
Hugging Face's cache, Jan or GPT4All already has on this disk.

examples:
  ggufjac pull smollm2-135m
  ggufjac analyze smollm2-135m "The bridge out of Marin is the"
  ggufjac analyze ~/models/Qwen3-8B-Q4_K_M.gguf "The capital of France is" --target " Paris" --top 16
  ggufjac attribute smollm2-135m --chat "Is the sky blue? Answer Yes or No." --target Yes --against No
  ggufjac verify smollm2-135m --twin
"""


#: The name of torch's exception, which is known without importing torch; and what can be done.
OUT_OF_MEMORY = "OutOfMemoryError"
WHAT_HELPS = "close what else uses it, let the analysis take less (--memory), or compute on the cpu (--device cpu)"


def parser() -> Parser:
    """The argument parser with every command; each command sets `execute`."""
    top = Parser(
        prog="ggufjac",
        description="Why a GGUF model predicts what it predicts: the exact linear map of a prompt, straight from the "
        "quantised weights, decoded to tokens and checked against llama.cpp.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"ggufjac {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in (
        analyze,
        answer,
        layers,
        lens,
        attribute,
        ordinary,
        extremes,
        ablate,
        patch,
        steer,
        compare,
        batches,
        plan,
        verify,
        generate,
        tokenize,
        inspect,
        show,
        models,
        families,
    ):
        module.add_parsers(commands)
    for command in commands.choices.values():
        if command.get_default("parser") is None:
            command.set_defaults(parser=command)
    return top


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the arguments. Prompts may also come after options, which argparse alone does not take.

    Raises UserError for a mistake.
    """
    top = parser()
    args, rest = top.parse_known_args(arguments)
    prompts = rest if not any(word.startswith("-") for word in rest) else []
    if len(prompts) == 1 and getattr(args, "prompt", "") is None:
        args.prompt = prompts[0]
    elif prompts and hasattr(args, "prompts"):
        args.prompts = [*args.prompts, *prompts]
    elif prompts and hasattr(args, "words"):  # words that mean models or prompts by their place
        args.words = [*args.words, *prompts]
    elif rest:
        args.parser.unknown(rest)
    return args


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status: 0, 1 (a check failed), 2 (a user's mistake, or an output that cannot be
    written), 130 (interrupted)."""
    standard.prepare()
    try:
        _check_environment()
        args = parse(arguments)
        status: int = args.execute(args)
        return status
    except UserError as error:
        standard.complain(str(error))
        return 2
    except RuntimeError as error:
        if type(error).__name__ != OUT_OF_MEMORY:
            raise
        standard.complain(f"the device ran out of memory: {WHAT_HELPS}")
        return 2
    except KeyboardInterrupt:
        standard.complain("interrupted")
        return 130
    except BrokenPipeError:
        standard.abandon()  # the reader of a pipe left
        return 0


def _check_environment() -> None:
    """Refuse a wrong GGUFJAC_ISA before the work begins, so that a batch does not count it as every unit's failure."""
    if "GGUFJAC_ISA" in os.environ:
        from ggufjac.quants.native import isa

        isa()
