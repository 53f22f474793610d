"""`ggufjac verify`: is this what llama.cpp computes?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ggufjac.cli import common
from ggufjac.errors import UserError


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "verify",
        help="check ggufjac against llama.cpp",
        description="Compare ggufjac's logits and hidden states with llama.cpp's. Exit status 1 when they disagree. "
        "Without prompts, a built-in handful is used.",
    )
    common.add_model(command)
    command.add_argument("prompts", metavar="PROMPT", nargs="*", help="texts to check")
    command.add_argument(
        "--twin", action="store_true", help="the float32 copy alone (default: the file as it is, then the copy)"
    )
    command.add_argument("--direct", action="store_true", help="the file as it is alone, without the copy")
    command.add_argument("--no-layers", action="store_true", help="compare logits only, no hidden states")
    command.add_argument("--tmp", metavar="DIR", help="where the float32 copy goes while it is needed")
    command.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': to standard output instead)")
    common.add_threads(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable, write_text

    if args.tmp is not None and not Path(args.tmp).is_dir():
        raise UserError(f"--tmp: {args.tmp} is no folder")
    require_writable(args.json)
    with common.open_model(args.model) as model:
        from rich.console import Console

        from ggufjac.analyses.records import to_plain
        from ggufjac.analyses.text import Speller
        from ggufjac.analyses.verification import PROMPTS, Verification, direct, twin
        from ggufjac.reports.verification import VerificationReport

        common.use_threads(args.threads)
        prompts = args.prompts or list(PROMPTS)
        results: list[Verification] = []
        with common.spinner("verifying") as progress:
            if args.direct or not args.twin:
                progress("the file as it is")
                results.append(direct(model, prompts, args.threads))
            if args.twin or not args.direct:
                progress("its float32 copy")
                results.append(
                    twin(
                        model,
                        prompts,
                        layers=not args.no_layers,
                        gelu_table=model.family.gelu,
                        threads=args.threads,
                        directory=None if args.tmp is None else Path(args.tmp),
                    )
                )
        agrees = all(result.agrees for result in results)
        if args.json is not None:
            text = json.dumps({"schema": "ggufjac.verify/1", "agrees": agrees, "results": to_plain(results)}, indent=1)
            if args.json == "-":
                print(text)
                return 0 if agrees else 1
            write_text(args.json, text + "\n")
        Console().print(VerificationReport(results, Speller(model.vocab)))
    return 0 if agrees else 1
