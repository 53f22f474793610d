"""Write benchmarks/RESULTS.md: every benchmark, each section with the machine that it ran on.

    python -m benchmarks results                                  # all sections
    python -m benchmarks results growth full_map                  # these; the others stay as they are
    python -m benchmarks results scale --scale MODEL[:TOKENS] ... # the models of the section "scale"
    python -m benchmarks results device --from device.json        # what `python -m benchmarks device` wrote
    python -m benchmarks results faithfulness --scores a.json     # what `python -m benchmarks faithfulness` saved
    python -m benchmarks results lens.settling lens.intermediates --lenses FOLDER
    python -m benchmarks results steer.methods --steering a.jsonl  # what `python -m benchmarks steer methods` saved

The section "device" is measured on a machine with a GPU, and written from its file alone. Without --scale the section
"scale" measures a synthetic Llama 3.1 8B, which takes 5 GB of the disk meanwhile; without --scores the section
"faithfulness" measures both small real models, which takes an hour or more. The lenses of the sections "lens.settling"
and "lens.intermediates" are kept in a folder, where an hour's fits go on. The plot of "growth" needs matplotlib (the
extra `plots`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from benchmarks.device.rows import Log
from benchmarks.machine import machine
from ggufjac.atomic import write_text
from ggufjac.errors import UserError
from ggufjac.registry import resolve

FOLDER = Path(__file__).parent
TARGET = FOLDER / "RESULTS.md"
PLOT = FOLDER / "growth.svg"
HEAD = """# What was measured

Written by `python -m benchmarks results`. Ratios compare with a baseline that was measured in the same run.
"""
#: What the table of kernels shows: the types that most files are made of, at a shape of an 8B model.
KERNELS = ("--types", "Q4_K,Q6_K,Q8_0,Q4_0,F16", "--shapes", "4096x14336", "--columns", "1,8,16,64,256,1024")


@dataclass(frozen=True)
class Sources:
    """models: of "scale". check: the file from which "device" is written; scores: those of "faithfulness", if any;
    lenses: the folder of fits; steering: the files of "steer.methods"."""

    models: Sequence[str] = ()
    check: Path | None = None
    scores: Sequence[Path] = ()
    lenses: Path | None = None
    steering: Sequence[Path] = ()


#: The lines of one section.
Section = Callable[[Sources], Iterator[str]]


def _table(name: str) -> Section:
    """The section of a benchmark that is one table."""

    def section(_: Sources) -> Iterator[str]:
        yield from import_module(f"benchmarks.{name}").table().lines()

    return section


def _kernels(_: Sources) -> Iterator[str]:
    """The kernels' own benchmark prints a table of fixed width."""
    command = [sys.executable, "-m", "benchmarks.kernels", *KERNELS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=FOLDER.parent) as ran:
        assert ran.stdout is not None
        yield "```"
        yield from (line.rstrip() for line in ran.stdout)
        yield "```"
    if ran.returncode:
        raise UserError(f"the benchmark of the kernels ended with status {ran.returncode}")


def _scale(sources: Sources) -> Iterator[str]:
    if not sources.models:
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            yield from _model(_synthetic(Path(folder)), 8)
    for i, model in enumerate(sources.models):
        name, _, tokens = model.partition(":")
        if tokens and not tokens.isdigit():
            raise UserError(f"--scale {model}: write MODEL:TOKENS; {tokens!r} is no number of tokens")
        if i:
            yield ""
        yield from _model(resolve(name), int(tokens or 8))


def _model(path: Path, n_tokens: int) -> Iterator[str]:
    from benchmarks import scale

    yield from scale.table(path, n_tokens).lines()


def _synthetic(folder: Path) -> Path:
    from benchmarks.synth import synthesize
    from benchmarks.synthetic.shapes import SHAPES

    path = folder / "llama3.1-8b.synthetic.gguf"
    synthesize(path, SHAPES["llama3.1-8b"])
    return path


def _faithfulness(sources: Sources) -> Iterator[str]:
    from benchmarks import faithfulness

    yield from faithfulness.kept(sources.scores) if sources.scores else faithfulness.lines()


def _answer(_: Sources) -> Iterator[str]:
    from benchmarks import answer

    yield from answer.lines()


def _growth(_: Sources) -> Iterator[str]:
    from benchmarks import growth

    seen: list[growth.Point] = []
    yield from growth.table(seen).lines()
    growth.plot(seen, PLOT)
    yield ""
    yield f"![Time against columns, tokens, layers, width and bits a weight]({PLOT.name})"


def _device(sources: Sources) -> Iterator[str]:
    from benchmarks.device import section

    yield from section.section(_checked(sources))


def _checked(sources: Sources) -> Log:
    from benchmarks.device.rows import read

    if sources.check is None:
        raise UserError('the section "device" is written from a check\'s file: --from device.json')
    try:
        return read(sources.check)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{sources.check} is no file of `python -m benchmarks device`: {error}") from None


def _patch(_: Sources) -> Iterator[str]:
    from benchmarks.patch import correlations

    yield from correlations.lines()


def _lens_settling(sources: Sources) -> Iterator[str]:
    from benchmarks.lens import settling

    yield from settling.table(_folder(sources)).lines()


def _lens_intermediates(sources: Sources) -> Iterator[str]:
    from benchmarks.lens import intermediates

    yield from intermediates.lines(_folder(sources))


def _folder(sources: Sources) -> Path:
    if sources.lenses is None:
        raise UserError("fits of lenses are kept in a folder: --lenses FOLDER")
    return sources.lenses


def _steer(sources: Sources) -> Iterator[str]:
    from benchmarks.steer import methods

    if not sources.steering:
        raise UserError("texts that were steered are kept in files: --steering FILE")
    yield from methods.lines(sources.steering)


#: Sections that are written from what an option names.
NAMED = ("device", "lens.settling", "lens.intermediates", "steer.methods")
SECTIONS: dict[str, Section] = {
    "full_map": _table("full_map"),
    "rules": _table("rules"),
    "precision": _table("precision"),
    "layers": _table("layers"),
    "ablate": _table("ablate"),
    "answer": _answer,
    "command": _table("command"),
    "plan": _table("plan"),
    "scale": _scale,
    "growth": _growth,
    "kernels": _kernels,
    "families": _table("families"),
    "instructions": _table("instructions"),
    "patch.correlations": _patch,
    "lens.cost": _table("lens.cost"),
    "lens.settling": _lens_settling,
    "lens.intermediates": _lens_intermediates,
    "steer.methods": _steer,
    "faithfulness": _faithfulness,
    "device": _device,
}


def measured(name: str, sources: Sources) -> str:
    """One section as Markdown: what it is, where and when it ran, its table. Lines are printed as they come."""
    lines = [_about(name), "", _where(name, sources), ""]
    print("\n".join(lines), flush=True)
    for line in SECTIONS[name](sources):
        lines.append(line)
        print(line, flush=True)
    return "\n".join(lines)


def _where(name: str, sources: Sources) -> str:
    if name == "device":
        from benchmarks.device import section

        return section.where(_checked(sources))
    return f"{time.strftime('%Y-%m-%d')}: {machine()}."


def _about(name: str) -> str:
    """A benchmark's own description without its command lines and what leads to them."""
    paragraphs = (import_module(f"benchmarks.{name}").__doc__ or "").strip().split("\n\n")
    paragraphs = [text for text in paragraphs if not text.endswith(":")]
    return "\n\n".join(text for text in paragraphs if not text.startswith("    "))


def sections_of(text: str) -> dict[str, str]:
    """The sections that a file of results has, by name."""
    parts = text.split("\n## ")[1:]
    return {name: body.strip() for name, _, body in (part.partition("\n") for part in parts)}


def document(sections: dict[str, str]) -> str:
    """The whole file, its sections in their usual order."""
    return "\n".join([HEAD, *(f"## {name}\n\n{sections[name]}\n" for name in SECTIONS if name in sections)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--scale", nargs="+", action="extend", default=[], metavar="MODEL[:TOKENS]")
    parser.add_argument("--from", dest="check", type=Path, metavar="FILE", help='of the section "device"')
    parser.add_argument(
        "--scores", type=Path, nargs="+", default=[], metavar="FILE", help='of the section "faithfulness"'
    )
    parser.add_argument("--lenses", type=Path, metavar="FOLDER", help="of the sections of lenses: where the fits are")
    parser.add_argument(
        "--steering", type=Path, nargs="+", default=[], metavar="FILE", help='of the section "steer.methods"'
    )
    args = parser.parse_args()
    try:
        there = {
            "device": args.check,
            **dict.fromkeys(NAMED[1:3], args.lenses),
            "steer.methods": args.steering or None,
        }
        measurable = [name for name in SECTIONS if name not in NAMED or there[name] is not None]
        _run(args.sections or measurable, Sources(args.scale, args.check, args.scores, args.lenses, args.steering))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run(names: Sequence[str], sources: Sources) -> None:
    for name in names:
        if name not in SECTIONS:
            raise UserError(f"no section {name!r}; there are {', '.join(SECTIONS)}")
    if "growth" in names and find_spec("matplotlib") is None:
        raise UserError("the plot of growth needs matplotlib: pip install matplotlib")
    for name in names:
        found = sections_of(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}
        print(f"\n## {name}\n", flush=True)
        found[name] = measured(name, sources)
        write_text(TARGET, document(found))


if __name__ == "__main__":
    sys.exit(main())
