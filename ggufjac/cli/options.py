"""What the commands of the analyses share: how a map is made, which tokens are meant, how a run begins."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ggufjac.analyses.targets import token_called as token_called
from ggufjac.cli import common
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.maps.followed import Settings
    from ggufjac.maps.model import Model


def add_how(command: argparse.ArgumentParser, *, quick: bool = False, either_run: bool = True) -> None:
    """How the map is made. quick: offer bfloat16 as well; either_run: offer llama.cpp's own run, and not exact
    arithmetic alone."""
    if quick:
        choices: tuple[str, ...] = ("float32", "float64", "bfloat16")
        help_text = "default float32; bfloat16: a quick look, right to about a percent"
    else:
        choices, help_text = ("float32", "float64"), "default float32"
    command.add_argument("--dtype", choices=choices, default="float32", help=help_text)
    command.add_argument("--path", choices=("up", "gate"), default="up", help="live factor of gated MLPs (default up)")
    common.add_memory(command)
    common.add_device(command)
    command.add_argument("--seed", type=int, default=0, help="of whatever is drawn at random")
    common.add_threads(command)
    if not either_run:
        return
    command.add_argument(
        "--run",
        dest="explained",
        choices=("exact", "llama.cpp"),
        default="exact",
        help="explain exact arithmetic on the file's weights (default), or llama.cpp's own run with all it rounds",
    )
    add_llama(command, "with --run llama.cpp: ")


def add_llama(command: argparse.ArgumentParser, when: str) -> None:
    """How llama.cpp is run where its run is followed; when: what the help says first."""
    command.add_argument("--cache", choices=("f16", "f32"), help=f"{when}the type of its key/value cache (default f16)")
    command.add_argument("--repack", action="store_true", help=f"{when}let it lay out weights anew for faster kernels")


def require_consistent(args: argparse.Namespace) -> None:
    """Raise UserError where llama.cpp's settings are given and its run is not asked for."""
    if getattr(args, "explained", "llama.cpp") == "exact" and (args.cache or args.repack):
        raise UserError("--cache and --repack say how llama.cpp is run; they go with --run llama.cpp")


def llama_settings(args: argparse.Namespace) -> Settings:
    """The settings of `add_llama`, with the threads that torch has been given."""
    import torch

    from ggufjac.maps.followed import Settings

    return Settings(torch.get_num_threads(), args.cache or "f16", args.repack)


def how(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_how` as those of an analysis."""
    from ggufjac.maps.model import DTYPES

    run = {"run": args.explained, "llama": llama_settings(args)} if hasattr(args, "explained") else {}
    return {
        **run,
        "dtype": DTYPES[args.dtype],
        "path": args.path,
        "memory": args.memory,
        "seed": args.seed,
        "device": args.device,
    }


@contextmanager
def opened(args: argparse.Namespace, what: str) -> Iterator[tuple[Model, str, Callable[[str], None]]]:
    """The model and the prompt that the arguments name, ready for an analysis, and whom to tell how it goes."""
    require_consistent(args)
    common.require_outputs(args)
    prompt = common.read_prompt(args)
    if not prompt:
        raise UserError("the prompt is empty; give at least one character")
    with common.open_model(args.model) as model:
        import torch

        common.use_threads(args.threads)
        with common.spinner(what) as progress, torch.no_grad():
            yield model, prompt, progress
