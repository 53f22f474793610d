"""Arguments and helpers that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ggufjac.cli import options, prompts
from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.cli.prompts import TypedPrompt

if TYPE_CHECKING:
    from ggufjac.analyses.common.stopwatch import Progress
    from ggufjac.analyses.options import AnalysisOptions
    from ggufjac.analyses.table import AnalysisEntry
    from ggufjac.chat.prompt import PromptLike
    from ggufjac.maps.model import Model


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a GGUF file, or a name that `ggufjac models` lists")


def add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cluster",
        metavar="WHERE",
        help="compute by dask.distributed: local:N for N processes here, or the tcp://HOST:PORT of a scheduler",
    )


def add_prompt(command: argparse.ArgumentParser) -> None:
    command.add_argument("prompt", metavar="PROMPT", nargs="?", help="the text; '-' or nothing reads standard input")
    command.add_argument("--prompt-file", metavar="FILE", help="read the prompt from a UTF-8 file, as it is")
    prompts.add(command)


def read_prompt(args: argparse.Namespace) -> TypedPrompt:
    """The prompt from the argument, a file, or standard input; `on` makes of it what a model is given.

    Raises UserError where there is none, and where it cannot be read.
    """
    return prompts.read(args, args.prompt, args.prompt_file)


def use_threads(threads: int | None) -> None:
    """Bind torch, and with it the kernels, to a number of threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def threads_of(args: argparse.Namespace) -> int | None:
    """The number that --threads gives."""
    found: int | None = getattr(args, "option_threads", None)
    return found


def open_model(name: str) -> Model:
    """The model that MODEL names."""
    from ggufjac.registry import resolve

    path = resolve(name)  # before torch is imported: a wrong name is answered at once
    from ggufjac.maps.model import Model

    return Model.open(path)


@contextmanager
def watched(doing: str) -> Iterator[Progress]:
    """Tell on standard error how a work goes on."""
    from ggufjac.reports import progress

    with progress.watched(doing) as told:
        yield told


@contextmanager
def analysis_watched(
    doing: str, command: str, prompts: Sequence[tuple[Model, PromptLike]], chosen: AnalysisOptions
) -> Iterator[Progress]:
    """The same of an analysis of some prompts on their models; what takes long is told beforehand."""
    from ggufjac.reports import progress

    with progress.analysis_watched(doing, command, prompts, chosen) as told:
        yield told


# --- an analysis of one prompt ----------------------------------------------------------------------------------


def add_analysis(command: argparse.ArgumentParser, entry: AnalysisEntry) -> None:
    """A model, a prompt, the options of an analysis, and where its result goes."""
    add_model(command)
    add_prompt(command)
    options.add(command, entry.options_class)
    add_outputs(command)


def run_analysis(args: argparse.Namespace, entry: AnalysisEntry, doing: str) -> int:
    """Compute the analysis that the arguments ask for, and publish its result."""
    kind = entry.options_class
    options.given(args, kind)  # what contradicts itself is answered at once
    require_outputs(args)
    typed = read_prompt(args)
    with open_model(args.model) as model:
        import torch

        prompt = typed.on(model)

        use_threads(threads_of(args))
        chosen = options.chosen(args, kind, model)
        with analysis_watched(doing, entry.command, [(model, prompt)], chosen) as progress, torch.no_grad():
            result = entry.function(model, prompt, chosen, progress)
    publish(result, args)
    return 0
