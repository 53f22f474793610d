"""What reports look alike in: the frame at the top, tables under titles, notes at the foot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from ggufjac.analyses.common.facts import ModelFacts
from ggufjac.analyses.common.predictions import Prediction
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.exactness import EXACT
from ggufjac.chat.prompt import Turn
from ggufjac.readable import readable, visible
from ggufjac.reports import words
from ggufjac.reports.cells import CUT, Bar

#: Terminal widths from which a table has room for more columns.
ROOMY, WIDE = 100, 130
#: A width at which a report shows everything that it has: that of pages.
EVERYTHING = 1000
#: The width of a terminal that nobody has changed, and of none at all.
USUAL = 80

#: Letters of a model's own name that a report shows.
LONGEST_NAME = 80
#: What the end of a cut bar means.
CUT_BARS = f"{CUT}: the bar is longer than its place, which the longest of the others fill"
#: Columns of tokens in a table at most; of a long prompt the tokens that matter most have one.
COLUMNS = 48
#: What a column of text should have at least, before other columns go; what stands between two columns.
COMFORT, BETWEEN = 20, 2


class Fitted:
    """A report that is drawn anew for every width: draw(width) gives its parts from top to bottom."""

    def __init__(self, draw: Callable[[int], Iterable[RenderableType]]) -> None:
        self._draw = draw

    def draw(self, width: int) -> Iterable[RenderableType]:
        """The parts; where a bar is cut, the notes say what its end means."""
        parts = list(self._draw(width))
        cut = any(isinstance(cell, Bar) and cell.cut for part in parts for cell in _cells(part))
        for part in parts:
            yield Notes((*part.lines, CUT_BARS)) if cut and isinstance(part, Notes) else part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.draw(options.max_width)


@dataclass(frozen=True)
class Frame:
    """The box at the top: names and what there is to say about them."""

    title: str
    facts: tuple[tuple[str, RenderableType], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style=words.DIM, no_wrap=True)
        grid.add_column(overflow="fold")
        for name, fact in self.facts:
            grid.add_row(name, fact)
        yield Panel(grid, title=Text(self.title, style="bold"), title_align="left", box=box.ROUNDED)


@dataclass(frozen=True)
class Titled:
    """A table under a heading that says in words what it shows."""

    title: str
    subtitle: str
    body: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text()
        yield Text.assemble((self.title, "bold"), ("  " + self.subtitle, words.DIM))
        yield self.body


@dataclass(frozen=True)
class Notes:
    """What the columns mean, and what the reader should know besides."""

    lines: tuple[str, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text()
        for line in self.lines:
            yield Text(line, style=words.DIM)


def _cells(part: RenderableType) -> Iterable[RenderableType]:
    table = part.body if isinstance(part, Titled) else part
    if isinstance(table, Table):
        for column in table.columns:
            yield from column.cells


def frame(title: str, facts: Iterable[tuple[str, RenderableType]]) -> RenderableType:
    """The box at the top of a report."""
    return Frame(title, tuple(facts))


def titled(title: str, subtitle: str, body: RenderableType) -> Iterable[RenderableType]:
    """A section of a report, to be yielded from."""
    yield Titled(title, subtitle, body)


def table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")


def narrowed(table: Table, width: int, expendable: Iterable[str]) -> Table:
    """The table without as many columns as it takes to fit, of those named, the first one first.

    Names are headings, their lines joined by a space. Numbers need their whole width, texts may wrap.
    """
    for name in expendable:
        if _needs(table) <= width:
            break
        table.columns = [column for column in table.columns if named(column) != name]
        for i, column in enumerate(table.columns):
            column._index = i
    return table


def named(column: Column) -> str:
    """A column's heading on one line."""
    head = column.header
    return " ".join((head.plain if isinstance(head, Text) else str(head)).split("\n")).strip()


def _needs(table: Table) -> int:
    total = BETWEEN * len(table.columns)
    for column in table.columns:
        whole = column.no_wrap or column.justify == "right"
        texts = [cell if isinstance(cell, Text) else Text(str(cell)) for cell in (column.header, *column.cells)]
        widest = max(cell_len(line) for text in texts for line in text.plain.split("\n"))
        total += widest if whole else min(widest, COMFORT)
    return total


@dataclass(frozen=True)
class Chosen:
    """Positions of tokens that have a column, and those that share one."""

    shown: list[int]
    left: list[int]


def chosen(sizes: Sequence[float], room: int) -> Chosen:
    """All tokens where there is room for a column each; else the largest, and one column for the others."""
    most = max(1, min(room, COLUMNS))
    ranked = sorted(range(len(sizes)), key=lambda t: -sizes[t])
    shown = sorted(ranked if len(ranked) <= most else ranked[: max(1, most - 1)])
    return Chosen(shown, [t for t in range(len(sizes)) if t not in set(shown)])


def notes(*lines: str) -> RenderableType:
    """The foot of a report."""
    return Notes(lines)


def _letters(name: str) -> str:
    """A name as it is compared with another one: without signs and capitals."""
    return "".join(filter(str.isalnum, name)).casefold()


def shortened(name: str) -> str:
    """A name of a stranger's choosing, at a length that leaves room for the rest of its line."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def model_line(m: ModelFacts) -> Text:
    mix = ", ".join(f"{kind} {words.percent(share)}" for kind, share in m.mix.items() if share >= 0.005)
    size = f"{words.count(m.weights)} weights, {mix}, {words.byte_size(m.bytes)}"
    return name_of(m).append(f"  {readable(m.architecture)}, {size}")


def name_of(m: ModelFacts) -> Text:
    """The file's name, which is what was asked for, and the model's own where that is another."""
    stem = readable(m.file.removesuffix(".gguf"))
    own = "" if _letters(m.name) == _letters(stem) else f" ({shortened(readable(m.name))})"
    return Text.assemble((stem, "bold"), (own, words.DIM))


def prompt_facts(
    prompt: str, turns: Sequence[Turn] = (), notes: Sequence[str] = ()
) -> list[tuple[str, RenderableType]]:
    """Lines for the head of a report: the prompt, of a chat with the template's text faint and where its messages are,
    and what there is to know of it."""
    facts: list[tuple[str, RenderableType]] = [("prompt", _prompt(prompt, turns))]
    if turns:
        tokens = [Text(f"{readable(turn.role)} {words.positions(turn.start, turn.stop)}") for turn in turns]
        explained = Text(" are the messages' tokens, all others the template's", style=words.DIM)
        facts.append(("turns", Text(", ").join(tokens).append_text(explained)))
    return facts + note_facts(notes)


def note_facts(notes: Sequence[str]) -> list[tuple[str, RenderableType]]:
    """Lines for the head of a report: what there is to know of a file or a prompt."""
    return [("note", Text(visible(note), style=words.FAIR)) for note in notes]


def _prompt(prompt: str, turns: Sequence[Turn]) -> Text:
    if not turns:
        return Text(readable(prompt), style="italic")
    out, at = Text(), 0
    for turn in turns:
        out.append(visible(prompt[at : turn.begin]), style=words.DIM)
        out.append(visible(prompt[turn.begin : turn.end]), style="italic")
        at = turn.end
    return out.append(visible(prompt[at:]), style=words.DIM)


def predictions_line(predictions: Sequence[Prediction], width: int) -> Text:
    """The likeliest next tokens with their probabilities, as many as the width has room for."""
    shown = []
    for i, p in enumerate(predictions[: 5 if width >= ROOMY else 4]):
        word = words.token(p.token, words.TOKEN if i == 0 else "")
        shown.append(word.append(f" {words.percent(p.probability)}", style="" if i == 0 else words.DIM))
    return Text("   ").join(shown)


def meant_facts(target: Prediction, predictions: Sequence[Prediction]) -> list[tuple[str, RenderableType]]:
    """A line for the head of a report where a likelier token differs from the target by spaces alone."""
    text = target.token.text
    for p in predictions:
        if p.rank < target.rank and p.token.text != text and p.token.text.strip() == text.strip() != "":
            said = Text.assemble(words.token(p.token), f" is rank {p.rank}, {words.percent(p.probability)}; ")
            return [("did you mean", said.append("a token's text has its space", style=words.DIM))]
    return []


def exactness_line(reconstruction: float, dtype: str) -> Text:
    """How far the linear map is from the output, judged by what its dtype can do."""
    limit = EXACT[dtype]
    good = reconstruction < limit
    return Text.assemble(
        (words.small(reconstruction), words.GOOD if good else words.BAD),
        f"  is what the linear map misses of the output ({dtype})" + ("" if good else f"; it should be below {limit}"),
    )


def origin(source: Piece, weight: float) -> Text:
    """The token where most of a right vector lies, and how much of it."""
    return words.token(source).append(f" {words.percent(weight)}", style=words.DIM)
