"""`ggufjac lens fit`: the mean Jacobians of many texts, into a file that grows text by text."""

from __future__ import annotations

import argparse

from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.cli import common, options
from ggufjac.cli.lens.corpora import SELF, corpus_named
from ggufjac.cli.outputs import require_apart
from ggufjac.cli.standard import complain, say


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "fit",
        help="fit a lens over a corpus",
        description="Average the Jacobians of many texts, one sweep for all blocks of each, into FILE. The same "
        "command goes on where an earlier one was stopped.",
    )
    common.add_model(command)
    command.add_argument("--out", metavar="FILE", required=True, help="where the lens goes: .pt or .safetensors")
    command.add_argument(
        "--corpus",
        metavar="TEXTS",
        default=SELF,
        help="a file of text; .jsonl, .json, .csv or .tsv with a document in each line; a folder of these; or self: "
        "what the model says by itself (default self)",
    )
    common.add_cluster(command)
    options.add(command, LensFitOptions)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable

    options.given(args, LensFitOptions)
    require_writable(args.out)
    require_apart(args, args.out)
    try:
        return _fit(args)
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from here")
        return 130


def _fit(args: argparse.Namespace) -> int:
    with common.open_model(args.model) as model:
        from ggufjac.analyses.lens.fit import fit
        from ggufjac.analyses.lens.planning import expected_fit
        from ggufjac.batch.fitting import fitted_by
        from ggufjac.reports.fitting import fitting_watched
        from ggufjac.reports.tables.lens import lens_report

        common.use_threads(common.threads_of(args))
        chosen = options.chosen(args, LensFitOptions, model)
        cluster = None if args.cluster is None else fitted_by(args.cluster, model, chosen)
        corpus = corpus_named(model, args.corpus, chosen)
        # how fast other machines are is not known
        here = args.cluster is None or "://" not in args.cluster
        with fitting_watched(lambda texts: expected_fit(model, texts, chosen) if here else None) as told:
            lens = fit(model, corpus, chosen, args.out, told=told, jacobians=cluster)
        say(lens_report(lens, args.out, args.model))
    return 0
