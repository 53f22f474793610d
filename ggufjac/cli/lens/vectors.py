"""`ggufjac lens vectors`: tokens' directions as control vectors for llama.cpp, and control vectors read."""

from __future__ import annotations

import argparse

from ggufjac.analyses.lens.options import LensVectorsOptions
from ggufjac.cli import common, options
from ggufjac.cli.outputs import add_outputs, publish, require_outputs
from ggufjac.errors import UserError


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "vectors",
        help="tokens' directions in and out of control vectors",
        description="The direction of a token at every block, as a lens has it, written as a control vector for "
        "llama.cpp; or what the vectors of such a file raise through the lens.",
    )
    common.add_model(command)
    command.add_argument("--lens", metavar="FILE", help="the lens: a file, or lens:NAME of a pulled one (required)")
    command.add_argument("--read", dest="file", metavar="FILE", help="read this control vector (GGUF)")
    options.add(command, LensVectorsOptions, without=("rules", "path"))
    add_outputs(command)
    command.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from ggufjac.atomic import require_writable

    if args.lens is None:
        raise UserError("--lens is missing: the file of a lens, or lens:NAME of a pulled one")
    given = options.given(args, LensVectorsOptions)
    if args.file is not None and "export" in given:
        raise UserError("--read and --export are two things: vectors of a file are read, those of tokens written")
    require_writable(given.get("export"))
    require_outputs(args, given.get("export"))
    with common.open_model(args.model) as model:
        import torch

        from ggufjac.analyses.lens.vectors import lens_vectors

        common.use_threads(common.threads_of(args))
        chosen = options.chosen(args, LensVectorsOptions, model)
        with common.watched("vectors") as progress, torch.no_grad():
            result = lens_vectors(model, args.lens, chosen, args.file, progress)
    publish(result, args)
    return 0
