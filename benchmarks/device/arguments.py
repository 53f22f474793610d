"""What a check is asked to do. Nothing here needs torch or the compiled extension."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.device.scales import SCALES, Scale

PHASES = ("build", "values", "products", "smollm", "1b", "8b", "70b", "real", "trial")
#: What runs only where it is named: it measures what nothing uses.
NAMED = ("trial",)
QUICK = ("build", "values", "products", "smollm")
#: Processes that compare types of weights on a GPU side by side: most of their time goes into compiling kernels.
SHARDS = 8


@dataclass(frozen=True)
class Settings:
    """phases: in the order in which they run. limit: seconds for each; total: for all of them together. steps: parts of
    the names of the steps that models take (none: all). words: the command line. formats: the types whose values are
    compared, and nothing else of that phase (none: all). tiles: whether other tiles are timed beside the usual ones.
    shards: processes among which the formats are dealt out.
    """

    phases: tuple[str, ...]
    device: str
    scale: Scale
    quick: bool
    all_types: bool
    real: Path | None
    limit: float
    total: float
    out: Path
    steps: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    tiles: bool = False
    shards: int = 1


def parsed(words: Sequence[str]) -> Settings:
    args = _parser().parse_args(words)
    scale = SCALES[args.scale or ("small" if args.device == "cpu" else "full")]
    out = args.out or Path(os.environ.get("OUT") or ".") / "device.json"
    chosen = _phases(args)
    return Settings(
        chosen,
        args.device,
        scale,
        args.quick,
        args.all_types,
        args.real,
        args.limit,
        60 * args.within,
        out,
        tuple(args.steps),
        tuple(words),
        tuple(args.formats),
        args.tiles,
        1 if args.formats else args.shards or (1 if args.device == "cpu" else SHARDS),
    )


def _phases(args: argparse.Namespace) -> tuple[str, ...]:
    if args.only:
        wanted = set(args.only)
    elif args.b8 or args.b70 or args.real:
        named = {"8b": args.b8, "70b": args.b70, "real": args.real is not None}
        wanted = {"build", *(name for name, asked in named.items() if asked)}
    else:
        wanted = set(QUICK if args.quick else PHASES) - set(NAMED)
    wanted -= set(args.skip)
    if args.real is None:
        wanted.discard("real")
    return tuple(name for name in PHASES if name in wanted)


def _parser() -> argparse.ArgumentParser:
    from benchmarks.device import __doc__ as about

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks device", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a subset that takes some minutes")
    parser.add_argument("--8b", dest="b8", action="store_true", help="the 8B model alone")
    parser.add_argument("--70b", dest="b70", action="store_true", help="the 70B model alone")
    parser.add_argument("--real", type=Path, metavar="FILE", help="this GGUF file alone")
    parser.add_argument("--only", nargs="+", choices=PHASES, default=[], metavar="PHASE", help=", ".join(PHASES))
    parser.add_argument("--skip", nargs="+", choices=PHASES, default=[], metavar="PHASE")
    parser.add_argument(
        "--steps", nargs="+", default=[], metavar="STEP", help="of models: coefficients, account, sweeps, triplets, map"
    )
    parser.add_argument("--all-types", action="store_true", help="products of more types than Q4_K")
    parser.add_argument(
        "--tiles", action="store_true", help="time other tiles of narrow products beside the usual ones"
    )
    parser.add_argument("--device", default="cuda", help="in torch's words (default cuda)")
    parser.add_argument("--limit", type=float, default=180, metavar="SECONDS", help="for each phase (default 180)")
    parser.add_argument("--within", type=float, default=60, metavar="MINUTES", help="for all phases (default 60)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default $OUT/device.json, or device.json here")
    parser.add_argument("--shards", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        "--formats", nargs="+", default=[], metavar="TYPE", help="values of these types of weights alone"
    )
    parser.add_argument("--scale", choices=SCALES, help=argparse.SUPPRESS)
    return parser
