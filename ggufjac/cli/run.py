"""`ggufjac run`: many prompts on many models, into one folder of results."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ggufjac.analyses.options import BatchOptions
from ggufjac.batch.units import ANALYSES
from ggufjac.cli import common, options
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from sqlite3 import Row

    from ggufjac.batch.run import Told
    from ggufjac.batch.summary import Summary
    from ggufjac.batch.units import Unit


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "run",
        help="many prompts and models into one folder of results",
        usage="ggufjac run PROMPTS MODEL [MODEL ...] --out FOLDER [options]\n       ggufjac run --status FOLDER",
        description="Run analyses of all prompts of a file on all models. FOLDER gets a row for each in batch.sqlite "
        "and a file for each in results/, which `ggufjac show` prints. The same command goes on where an earlier one "
        "was stopped. Exit status 1 when some failed.",
    )
    command.add_argument(
        "words",
        metavar="PROMPTS MODEL",
        nargs="*",
        help='a file of prompts, one per line; or .jsonl, .json, .csv, .tsv with "prompt" or "messages" and, if you '
        'like, "id", "target", "answer" and more; '
        "then GGUF files or names",
    )
    command.add_argument(
        "--column",
        metavar="NAME",
        help="the prompts' column or field (default: prompt, messages, text or question)",
    )
    command.add_argument("--out", metavar="FOLDER", help="where the results go; made where there is none")
    command.add_argument("--status", metavar="FOLDER", help="only tell how far the run into this folder has come")
    command.add_argument(
        "--analysis",
        action="append",
        choices=ANALYSES,
        default=[],
        help="what to run, by the name of its command; may be repeated (default: analyze)",
    )
    command.add_argument(
        "--cluster",
        metavar="WHERE",
        help="compute by dask.distributed: local:N for N processes here, or the tcp://HOST:PORT of a scheduler",
    )
    options.add(command, BatchOptions)
    command.add_argument("--json", metavar="FILE", help="write the summary as JSON ('-': to standard output instead)")
    command.add_argument("--csv", metavar="FILE", help="write the rows as CSV ('-': to standard output instead)")
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable

    options.given(args, BatchOptions)
    require_writable(args.json, args.csv)
    if args.json == args.csv == "-":
        raise UserError("--json - and --csv - cannot both go to standard output")
    if args.status is not None:
        if args.words or args.out is not None or args.column is not None:
            raise UserError("--status FOLDER only tells; leave out the prompts, the models, --column and --out")
        return _tell(_status(args), args)
    if len(args.words) < 2 or args.out is None:
        raise UserError("a run needs prompts, models and a folder: ggufjac run prompts.jsonl MODEL --out FOLDER")
    try:
        return _tell(_run(args), args)
    except KeyboardInterrupt:
        print("ggufjac: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _status(args: argparse.Namespace) -> Summary:
    from ggufjac.batch.store import reading
    from ggufjac.batch.summary import summary_of

    with reading(args.status) as store:
        rows = store.rows()
    _write_rows(rows, None, args)
    return summary_of(rows, args.status)


def _write_rows(rows: Sequence[Row], keys: set[str] | None, args: argparse.Namespace) -> None:
    """The rows with these keys (None: all) where --csv wants them."""
    if args.csv is None:
        return
    from ggufjac.atomic import write_text
    from ggufjac.batch.sheet import csv_of

    text = csv_of(rows, keys)
    if args.csv == "-":
        print(text, end="")
    else:
        write_text(args.csv, text)


def _run(args: argparse.Namespace) -> Summary:
    from ggufjac.batch.prompts import read_prompts
    from ggufjac.batch.store import reading
    from ggufjac.batch.units import Resources, units_of
    from ggufjac.registry import resolve

    prompts = read_prompts(args.words[0], args.column)
    paths = list(dict.fromkeys(resolve(name) for name in args.words[1:]))
    from ggufjac.batch.run import run_batch, sources

    common.use_threads(common.threads_of(args))
    given = options.given(args, BatchOptions)
    units = units_of(prompts, sources(paths), args.analysis or ["analyze"], BatchOptions(**given))
    with _progress(len(paths)) as told:
        summary = run_batch(args.out, units, Resources.of(BatchOptions(**given)), args.cluster, told)
    if args.csv is not None:
        with reading(args.out) as store:
            _write_rows(store.rows(), {unit.key for unit in units}, args)
    return summary


@contextmanager
def _progress(models: int) -> Iterator[Told]:
    """A bar on a terminal's standard error with the time that is left; plain lines every so often elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        from ggufjac.reports.progress import Counted, plain_lines

        counted = Counted("running")

        def count(unit: Unit | None, done: int, total: int) -> None:
            if unit is None:
                counted.begin(done, total)
            else:
                counted.reach(done)

        with plain_lines(counted, console):
            yield count
        return
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("opening", total=None)

        def told(unit: Unit | None, done: int, total: int) -> None:
            if unit is None:  # what was there before says nothing about the time that a unit takes
                bar.reset(task, completed=done, total=total, description="running")
                return
            which = f"{unit.analysis} {unit.model.name}" if models > 1 else unit.analysis
            bar.update(task, completed=done, description=which)

        yield told


def _tell(summary: Summary, args: argparse.Namespace) -> int:
    from rich.console import Console

    from ggufjac.analyses.common.records import to_plain
    from ggufjac.atomic import write_text
    from ggufjac.reports.tables.batch import report

    counts = {"done": summary.done, "failed": summary.failed, "pending": summary.pending}
    plain = {"schema": "ggufjac.batch/1", **counts, **to_plain(summary)}
    text = json.dumps(plain, ensure_ascii=False, indent=1)
    if args.json == "-":
        print(text)
    elif args.csv != "-":
        Console().print(report(summary))
    if args.json not in (None, "-"):
        write_text(args.json, text + "\n")
    return 1 if summary.failed else 0
