"""`ggufjac lens read`: what every layer is about to say, through one lens or several."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggufjac.analyses.lens.options import LensReadOptions
from ggufjac.cli import common, options
from ggufjac.cli.lens.corpora import corpus_named
from ggufjac.cli.outputs import add_outputs, publish, require_outputs

if TYPE_CHECKING:
    from ggufjac.analyses.lens.read import Named


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "read",
        help="what every layer is about to say, at every position",
        description="Read a prompt's states through lenses: for every layer and position the tokens that the model is "
        "about to say from there.",
        epilog="lenses: a FILE that `ggufjac lens fit` or others wrote; logit (the state as it is); own (this prompt's "
        "own map, no text needed); corpus (the mean over a few texts, computed for these states alone).",
    )
    common.add_model(command)
    common.add_prompt(command)
    command.add_argument(
        "--lens",
        action="append",
        metavar="FILE|NAME",
        help="a lens's file, or logit, own, corpus; may be repeated (default: logit and own)",
    )
    command.add_argument(
        "--corpus", metavar="FILE|FOLDER", help="the texts of --lens corpus (default: the model's own words)"
    )
    options.add(command, LensReadOptions)
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    options.given(args, LensReadOptions)  # what contradicts itself is answered at once
    require_outputs(args)
    typed = common.read_prompt(args)
    named: list[str] = list(dict.fromkeys(args.lens or ("logit", "own")))
    with common.open_model(args.model) as model:
        import torch

        from ggufjac.analyses.lens.match import opened_lens
        from ggufjac.analyses.lens.options import FREE
        from ggufjac.analyses.lens.planning import expected_reading
        from ggufjac.analyses.lens.read import lens
        from ggufjac.reports.progress import planned_watched

        lenses: list[Named] = [name if name in FREE else (name, opened_lens(name, model)[0]) for name in named]
        prompt = typed.on(model)
        common.use_threads(common.threads_of(args))
        chosen = options.chosen(args, LensReadOptions, model)
        corpus = None if args.corpus is None else corpus_named(model, args.corpus, chosen)
        n, texts = len(model.ids_of(prompt)), None if corpus is None else len(corpus.texts)
        with (
            planned_watched(
                "reading the layers", lambda: expected_reading(model, n, chosen, tuple(named), texts)
            ) as progress,
            torch.no_grad(),
        ):
            result = lens(model, prompt, chosen, progress, lenses, corpus)
    publish(result, args)
    return 0
