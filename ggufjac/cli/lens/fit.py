"""`ggufjac lens fit`: the mean Jacobians of many texts."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.cli import common, options
from ggufjac.cli.lens.corpora import SELF, corpus_named
from ggufjac.cli.standard import complain, say
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from ggufjac.maps.lens.lens import LensSum


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "fit",
        help="fit a lens over texts",
        description="Fit a lens: for every layer the mean Jacobian from what leaves it to what leaves the last one, "
        "over texts. It can be interrupted at any moment: the same command goes on.",
    )
    common.add_model(command)
    command.add_argument(
        "--corpus",
        metavar="FILE|FOLDER|self",
        default=SELF,
        help="ordinary prose: a text file, a folder of them, .jsonl, .json or .csv with a text per line; self "
        "(default): what the model says by itself",
    )
    command.add_argument("--out", metavar="FILE", help="where the lens is kept (.pt or .safetensors; required)")
    options.add(command, LensFitOptions)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    chosen = LensFitOptions(**options.given(args, LensFitOptions))
    if args.out is None:
        raise UserError("--out is missing: where the lens is kept, while it is fitted and afterwards")
    if args.corpus != SELF and not Path(args.corpus).exists():
        raise UserError(f"{args.corpus}: there is no such file or folder; --corpus self takes the model's own words")
    with common.open_model(args.model) as model:
        import torch

        from ggufjac.analyses.lens.fit import fit
        from ggufjac.reports import progress
        from ggufjac.reports.tables.lens import lens_report

        common.use_threads(common.threads_of(args))
        try:
            with torch.no_grad(), progress.counted("fitting, texts") as counted:
                begun = False

                def told(state: LensSum, n: int) -> None:
                    nonlocal begun
                    (counted.reach if begun else partial(counted.begin, total=n))(state.n)
                    begun = True

                lens = fit(model, corpus_named(model, args.corpus, chosen), chosen, args.out, told=told)
        except KeyboardInterrupt:
            complain(f"interrupted; the same command goes on where {args.out} stops")
            return 130
        say(lens_report(lens, args.out, args.model))
    return 0
