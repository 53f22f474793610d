"""`ggufjac lens fit`: the mean Jacobians of many texts, into a file that grows text by text."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.cli import common, options
from ggufjac.cli.outputs import require_apart
from ggufjac.cli.standard import complain, say
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.analyses.lens.corpus import Corpus
    from ggufjac.maps.model import Model

#: The corpus that needs no file.
SELF = "self"


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
        from ggufjac.reports.fitting import fitting_watched
        from ggufjac.reports.terminal.lens import report

        common.use_threads(common.threads_of(args))
        chosen = options.chosen(args, LensFitOptions, model)
        corpus = _corpus(args.corpus, model, chosen)
        with fitting_watched() as told:
            lens = fit(model, corpus, chosen, args.out, told=told)
        say(report(lens, args.out, args.model))
    return 0


def _corpus(name: str, model: Model, chosen: LensFitOptions) -> Corpus:
    from ggufjac.analyses.lens.corpus import corpus_of, own_words
    from ggufjac.batch.documents import read_documents

    if name == SELF:
        with common.watched("texts that the model says by itself"):
            return own_words(model, chosen.prompts, length=chosen.length, device=chosen.device)
    if not name:
        raise UserError("--corpus: give a file, a folder, or self")
    with common.watched("reading the corpus"):
        documents = read_documents(model, name)
        return corpus_of(model, documents, name, length=chosen.length, skip=chosen.skip)
