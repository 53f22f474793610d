"""`ggufjac verify`: is this what llama.cpp computes?"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ggufjac.analyses.options import ExplainOptions
from ggufjac.cli import common, options, prompts
from ggufjac.cli.outputs import each, require_apart
from ggufjac.cli.standard import say, say_json
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ggufjac.analyses.common.stopwatch import Progress
    from ggufjac.analyses.judge.explain import Explanation
    from ggufjac.analyses.judge.verify import Verification
    from ggufjac.chat.prompt import Prompt
    from ggufjac.maps.model import Model


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
    command.add_argument(
        "--explain",
        action="store_true",
        help="which of llama.cpp's roundings moved the prediction, by how many logits: of every PROMPT, or of those "
        "built-in ones where the first tokens differ",
    )
    command.add_argument("--no-layers", action="store_true", help="compare logits only, no hidden states")
    command.add_argument("--tmp", metavar="DIR", help="where the float32 copy goes while it is needed")
    command.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': to standard output instead)")
    prompts.add(command, repeated=True)
    options.add(command, ExplainOptions, only=("threads",))
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable, write_text

    if args.tmp is not None and not os.path.isdir(args.tmp):
        raise UserError(f"--tmp: {args.tmp} is no folder")
    if args.explain and args.twin and not args.direct:
        raise UserError("--explain is about the file as it is; it does not go with --twin alone")
    require_writable(args.json)
    require_apart(args, args.json)
    typed = prompts.several(args, args.prompts)
    with common.open_model(args.model) as model:
        from rich.text import Text

        from ggufjac.analyses.common.records import to_plain
        from ggufjac.analyses.common.tokens import Speller
        from ggufjac.analyses.judge.verify import PROMPTS, direct, twin
        from ggufjac.maps.notes import notes_of_file
        from ggufjac.readable import visible
        from ggufjac.reports import words
        from ggufjac.reports.tables.verification import VerificationReport
        from ggufjac.reports.views import VIEWS

        threads = common.threads_of(args)
        common.use_threads(threads)
        checked: list[Prompt] = [
            prompt.on(model) for prompt in typed or [prompts.meant(args, text) for text in PROMPTS]
        ]
        results: list[Verification] = []
        explanations: list[Explanation] = []
        with common.watched("verifying") as progress:
            if args.direct or not args.twin:
                progress.lap("the file as it is")
                results.append(direct(model, checked, threads))
                if args.explain:
                    explanations += _explained(model, checked, results[-1], bool(typed), args, progress)
            if args.twin or not args.direct:
                progress.lap("its float32 copy")
                results.append(
                    twin(
                        model,
                        checked,
                        layers=not args.no_layers,
                        gelu_table=model.family.gelu,
                        threads=threads,
                        directory=None if args.tmp is None else Path(args.tmp),
                    )
                )
        agrees, notes = all(result.agrees for result in results), notes_of_file(model)
        told = {"schema": "ggufjac.verify/1", "agrees": agrees, "notes": list(notes), "results": to_plain(results)}
        if args.explain:
            told["explanations"] = [explanation.to_dict() for explanation in explanations]
        text = json.dumps(told, indent=1)
        if args.json == "-":
            say_json(text)
            return 0 if agrees else 1
        parts: list[RenderableType] = [Text(f"note: {visible(note)}", style=words.FAIR) for note in notes]
        parts += [VIEWS.terminal(explanation) for explanation in explanations]
        if args.explain and not explanations:
            parts.append("All first tokens agree; with a PROMPT, --explain says what rounding did to its logit.")
        parts.append(VerificationReport(results, Speller(model.vocab)))
        outputs: list[Callable[[], object]] = [lambda: say(*parts)]
        if args.json is not None:
            outputs.insert(0, lambda: write_text(args.json, text + "\n"))
        each(outputs)
    return 0 if agrees else 1


def _explained(
    model: Model,
    given: Sequence[Prompt],
    checked: Verification,
    asked: bool,
    args: argparse.Namespace,
    progress: Progress,
) -> Iterator[Explanation]:
    """Explanations of the direct check's prompts (asked: all of them), with llama.cpp run as there."""
    from ggufjac.analyses.judge.explain import explain

    how = ExplainOptions(threads=common.threads_of(args), n_ctx=max(check.n_tokens for check in checked.checks))
    for i, (prompt, check) in enumerate(zip(given, checked.checks, strict=True), 1):
        if asked or check.verdict != "MATCH":
            progress.lap(f"explaining prompt {i} of {len(given)}")
            yield explain(model, prompt, how)
