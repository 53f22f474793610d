"""`ggufjac run`: many prompts on many models, into one folder of results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ggufjac.analyses.options import BatchOptions
from ggufjac.batch.units import ANALYSES
from ggufjac.cli import common, options
from ggufjac.cli.outputs import each, require_apart
from ggufjac.cli.standard import complain, say, say_json, say_text
from ggufjac.errors import UserError
from ggufjac.readable import visible

if TYPE_CHECKING:
    from ggufjac.batch.run import Told
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
    common.add_cluster(command)
    options.add(command, BatchOptions)
    command.add_argument("--json", metavar="FILE", help="write the summary as JSON ('-': to standard output instead)")
    command.add_argument("--csv", metavar="FILE", help="write the rows as CSV ('-': to standard output instead)")
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable

    options.given(args, BatchOptions)
    require_writable(args.json, args.csv)
    require_apart(args, args.json, args.csv)
    if args.json == args.csv == "-":
        raise UserError("--json - and --csv - cannot both go to standard output")
    if args.status is not None:
        if args.words or args.out is not None or args.column is not None:
            raise UserError("--status FOLDER only tells; leave out the prompts, the models, --column and --out")
        return _tell(args.status, None, args)
    if len(args.words) < 2 or args.out is None:
        raise UserError("a run needs prompts, models and a folder: ggufjac run prompts.jsonl MODEL --out FOLDER")
    try:
        return _tell(args.out, _run(args), args)
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from here")
        return 130


def _run(args: argparse.Namespace) -> set[str]:
    """Compute what is left to do; returns the keys of all units that were asked for."""
    from ggufjac.batch.prompts import read_prompts
    from ggufjac.batch.units import Resources, units_of
    from ggufjac.registry import resolve

    prompts = read_prompts(args.words[0], args.column)
    paths = list(dict.fromkeys(resolve(name) for name in args.words[1:]))
    from ggufjac.batch.run import run_batch, sources

    common.use_threads(common.threads_of(args))
    given = options.given(args, BatchOptions)
    units = units_of(prompts, sources(paths), args.analysis or ["analyze"], BatchOptions(**given))
    with _progress(len(paths)) as told:
        run_batch(args.out, units, Resources.of(BatchOptions(**given)), args.cluster, told)
    return {unit.key for unit in units}


@contextmanager
def _progress(models: int) -> Iterator[Told]:
    """A bar on a terminal's standard error with the time that is left; plain lines every so often elsewhere."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from ggufjac.reports.aside import aside

    console = aside()
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
            which = f"{unit.analysis} {visible(unit.model.name)}" if models > 1 else unit.analysis
            bar.update(task, completed=done, description=which)

        yield told


def _tell(folder: str, keys: set[str] | None, args: argparse.Namespace) -> int:
    """What a folder says of the units with these keys (None: of all), where it is asked for; the exit status."""
    from ggufjac.analyses.common.records import to_plain
    from ggufjac.atomic import write_text
    from ggufjac.batch.sheet import csv_of
    from ggufjac.batch.store import reading
    from ggufjac.batch.summary import summary_of
    from ggufjac.reports.tables.batch import report

    with reading(folder) as store:
        rows = store.rows()
    summary = summary_of(rows, folder, keys)
    counts = {"done": summary.done, "failed": summary.failed, "pending": summary.pending}
    plain = {"schema": "ggufjac.batch/1", **counts, **to_plain(summary)}
    text = json.dumps(plain, ensure_ascii=False, indent=1)
    outputs: list[Callable[[], object]] = []
    if args.json not in (None, "-"):
        outputs.append(lambda: write_text(args.json, text + "\n"))
    if args.csv not in (None, "-"):
        outputs.append(lambda: write_text(args.csv, csv_of(rows, keys)))
    if args.json == "-":
        outputs.append(lambda: say_json(text))
    elif args.csv == "-":
        outputs.append(lambda: say_text(csv_of(rows, keys)))
    else:
        outputs.append(lambda: say(report(summary)))
    each(outputs)
    return 1 if summary.failed else 0
