"""The report of `ggufjac compare --by`: which tensors' quantisation moved the prediction, and what putting them back
regains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.compare.sums import TOGETHER, TensorGroup, TensorTerm, part_of, types_of
from ggufjac.analyses.compare.tensors import PutBack, QuantisedPrompt, TensorComparison
from ggufjac.readable import readable
from ggufjac.reports import words
from ggufjac.reports.cells import Cell
from ggufjac.reports.terminal import layout, runs

#: How many tensors, and how many prompts, the report lists.
LISTED, PROMPTS = 12, 12
#: Letters of a prompt in a table.
LONGEST = 40
#: What llama.cpp's quantiser has flags of their own for.
ENDS = {"token_embd.weight": "--token-embedding-type", "output.weight": "--output-tensor-type"}


def report(comparison: TensorComparison) -> RenderableType:
    """The report of two quantisations."""
    return layout.Fitted(lambda width: _draw(comparison, width))


def _draw(c: TensorComparison, width: int) -> Iterable[RenderableType]:
    yield _head(c)
    first = {"tensor": _tensors, "layer": _layers, "type": _types}
    yield from first[c.by](c, width)
    if c.put_back:
        more = "tensors of the first file in the second, all else as it is: runs of their own"
        yield from layout.titled("Put back", more, _put_back(c, width))
    for by, section in first.items():
        if by != c.by:
            yield from section(c, width)
    if len(c.types) > 1:
        yield from layout.titled("Quantisations", "all tensors of the same two types", _sums(c.types, width, "types"))
    if len(c.prompts) > 1:
        yield from layout.titled("Prompts", "what became of each", _prompts(c, width))
    yield from layout.titled("First order", "what one sweep foretells of the terms", _first_order(c, width))
    yield layout.notes(*_notes(c))


# --- the head ------------------------------------------------------------------------------------------------------


def _head(c: TensorComparison) -> RenderableType:
    facts: list[tuple[str, RenderableType]] = [
        ("from", layout.model_line(c.one)),
        ("to", layout.model_line(c.other)),
        *runs.run_facts(None, c.device),
        ("reads", _reads(c)),
        *layout.note_facts(c.notes),
        ("verdict", _verdict(c)),
        ("answers", _answers(c)),
    ]
    if c.put_back:
        alone = [each for each in c.put_back if each.group != TOGETHER]
        best = max(alone, key=lambda each: each.regained)
        facts += [("keep", _keep(c, best)), *_command(c, best)]
    facts.append(("tensors", _counts(c)))
    return layout.frame(f"ggufjac compare --by {c.by}", facts)


def _reads(c: TensorComparison) -> Text:
    if len(c.prompts) == 1:
        text = readable(c.prompts[0].text)
        shown = Text(text if len(text) <= 3 * LONGEST else text[: 3 * LONGEST - 1] + "…", style="italic")
    else:
        shown = Text(f"{len(c.prompts)} prompts")
    if c.positions == "last":
        return shown.append(", at the last position" + ("" if len(c.prompts) == 1 else " of each"), "not italic")
    n = sum(prompt.n_tokens for prompt in c.prompts)
    return shown.append(f", {n} tokens, at all {c.n_positions} positions that another one follows", "not italic")


def _verdict(c: TensorComparison) -> Text:
    style = "bold" if c.limit is None else words.BAD if c.exceeds else words.GOOD
    out = Text.assemble((f"KL {c.kl:.4f} nats", style), "" if c.n_positions == 1 else " a position")
    if c.limit is not None:
        out.append(f", {'above' if c.exceeds else 'within'} the {c.limit:g} that are allowed", style=style)
    n = round(c.same * c.n_positions)
    if c.n_positions == 1:
        return out.append("; the first token is the same" if n else "; the first token is another one")
    return out.append(f"; the first token is the same at {n} of {c.n_positions} positions")


def _answers(c: TensorComparison) -> Text:
    named = [prompt.answer for prompt in c.prompts if prompt.answer is not None]
    whose = words.token(named[0]) if len(named) == 1 else Text("the likeliest tokens" if named else "the text's tokens")
    if len(named) > 1 and len({piece.id for piece in named}) == 1:
        whose = words.token(named[0])
    out = Text("ln p of ").append_text(whose).append(f" {c.ln_p_one:.4f} → {c.ln_p_other:.4f} (")
    return out.append_text(_moved(c.ln_p_other - c.ln_p_one)).append(
        f"), logit {c.logit_one:.4f} → {c.logit_other:.4f}"
    )


def _keep(c: TensorComparison, best: PutBack) -> Text:
    one, other = _types_of(best)
    out = Text.assemble((readable(best.group), "bold"), f" in {one} (not {other}): ")
    if best.regained > 0:
        out.append(f"that alone regains {best.regained:.4f} of the KL")
        return out.append(f" ({_share(best.regained, c.kl)}), for {_size(best.bytes)}")
    return out.append("but that alone regains nothing: it hurts only together with others")


def _command(c: TensorComparison, best: PutBack) -> list[tuple[str, RenderableType]]:
    """How llama.cpp's quantiser is told to keep them, where one type serves for all of them."""
    terms = [term for term in c.tensors if term.name in best.tensors]
    kinds = {term.type_one.lower() for term in terms}
    if len(kinds) != 1:
        return []
    kind, first = kinds.pop(), terms[0]
    if first.name in ENDS and len(terms) == 1:
        said = f"{ENDS[first.name]} {kind}"
    else:
        whole = c.by == "layer" and 0 <= first.layer < c.n_layer
        name = f"blk.{first.layer}." if whole else first.part if c.by == "type" else first.name.removesuffix(".weight")
        said = f"--tensor-type '{readable(name.replace('.', chr(92) + '.'))}={kind}'"
    return [("llama.cpp", Text(f"llama-quantize {said} …", style=words.DIM))]


def _counts(c: TensorComparison) -> Text:
    out = Text(f"{len(c.tensors)} differ, {c.equal} are byte for byte the same")
    if c.idle:
        out.append(f", {len(c.idle)} that differ no text passes")
    missing = max(map(abs, c.missing))
    told = f"but for {words.small(missing)}" if missing else "to the last digit"
    return out.append(f"; their terms add up to the change {told}", style=words.DIM)


# --- tables --------------------------------------------------------------------------------------------------------


def _tensors(c: TensorComparison, width: int) -> Iterable[RenderableType]:
    chosen = sorted(c.tensors, key=lambda term: -term.kl)[:LISTED]
    table = layout.table()
    for name, right in (
        ("tensor", False),
        ("types", False),
        ("KL", True),
        ("", False),
        ("share", True),
        ("ln p", True),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for name in ("foretold", "logit", "costs"):
        table.add_column(name, justify="right", no_wrap=True)
    largest = max(abs(term.kl) for term in chosen)
    for term in chosen:
        table.add_row(
            _name(term.name),
            Text(types_of(term), style=words.DIM),
            *_kl(term, largest, c.kl),
            _moved(term.ln_p),
            "" if math.isnan(term.first_ln_p) else Text(f"{term.first_ln_p:+.4f}", style=words.DIM),
            _moved(term.logit),
            _size(term.bytes_one - term.bytes_other),
        )
    about = f"the {len(chosen)} of {len(c.tensors)} that hurt most" if len(chosen) < len(c.tensors) else "by harm"
    fitting = layout.narrowed(table, width, ("logit", "foretold", "share", "types", "costs"))
    yield from layout.titled("Tensors", about, fitting)


def _types(c: TensorComparison, width: int) -> Iterable[RenderableType]:
    kinds = sorted(c.kinds, key=lambda group: -group.kl) if c.by == "type" else c.kinds
    yield from layout.titled("Types", "the same tensor of all layers together", _sums(kinds, width, "tensor"))


def _layers(c: TensorComparison, width: int) -> Iterable[RenderableType]:
    groups = sorted(c.layers, key=lambda group: -group.kl) if c.by == "layer" else c.layers
    yield from layout.titled("Layers", "all tensors of a layer together", _sums(groups, width, "layer"))


def _sums(groups: Sequence[TensorGroup], width: int, name: str) -> Table:
    table = layout.table()
    table.add_column(name, no_wrap=True)
    if name == "tensor":
        table.add_column("types", no_wrap=True)
    table.add_column("n", justify="right", style=words.DIM)
    for head in ("KL", "", "share", "ln p", "logit", "costs"):
        table.add_column(head, justify="left" if not head else "right", no_wrap=True)
    if name == "layer":
        table.add_column("most by", no_wrap=True)
    largest, total = max(abs(group.kl) for group in groups), sum(group.kl for group in groups)
    for group in groups:
        table.add_row(
            _name(group.name),
            *([Text(", ".join(group.types), style=words.DIM)] if name == "tensor" else []),
            str(len(group.tensors)),
            *_kl(group, largest, total),
            _moved(group.ln_p),
            _moved(group.logit),
            _size(group.bytes_one - group.bytes_other),
            *([_name(part_of(group.worst))] if name == "layer" else []),
        )
    if len(groups) > 1:
        table.add_section()
        cells: list[RenderableType] = [Text("sum", style=words.DIM)]
        cells += [""] * (name == "tensor")
        cells += [str(sum(len(group.tensors) for group in groups)), _signed(total), "", ""]
        cells += [_moved(sum(group.ln_p for group in groups)), _moved(sum(group.logit for group in groups))]
        cells.append(_size(sum(group.bytes_one - group.bytes_other for group in groups)))
        table.add_row(*cells)
    return layout.narrowed(table, width, ("most by", "n", "logit", "share", "types", "costs"))


def _put_back(c: TensorComparison, width: int) -> Table:
    table = layout.table()
    for name in ("back", "KL", "regained", "share", "", "ln p", "costs", "per MB"):
        table.add_column(name, justify="left" if name in ("back", "") else "right", no_wrap=True)
    largest = max(abs(each.regained) for each in c.put_back)
    for each in c.put_back:
        table.add_row(
            _name(each.group),
            f"{each.kl:.4f}",
            _signed(each.regained),
            _share(each.regained, c.kl),
            words.bar(each.regained, largest),
            f"{each.ln_p:.4f}",
            _size(each.bytes),
            f"{each.regained / each.bytes * 1e6:+.4f}" if each.bytes > 0 else "",
        )
    table.add_section()
    table.add_row(Text("none", style=words.DIM), f"{c.kl:.4f}", "", "", "", f"{c.ln_p_other:.4f}", "", "")
    return layout.narrowed(table, width, ("per MB", "share", "ln p", "costs"))


def _prompts(c: TensorComparison, width: int) -> Table:
    table = layout.table()
    table.add_column("prompt")
    table.add_column("answer", no_wrap=True)
    for name in ("KL", "ln p", "then"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("same first", justify="right", no_wrap=True)
    shown = sorted(c.prompts, key=lambda prompt: -prompt.kl)[:PROMPTS]
    for prompt in shown:
        text = readable(prompt.text)
        table.add_row(
            Text(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"),
            Text("") if prompt.answer is None else words.token(prompt.answer),
            f"{prompt.kl:.4f}",
            f"{prompt.ln_p_one:.4f}",
            f"{prompt.ln_p_other:.4f}",
            _same(prompt),
        )
    if len(shown) < len(c.prompts):
        table.add_row(Text(f"and {len(c.prompts) - len(shown)} more", style=words.DIM), "", "", "", "", "")
    return layout.narrowed(table, width, ("same first", "answer"))


def _same(prompt: QuantisedPrompt) -> str:
    if prompt.n_positions == 1:
        return "yes" if prompt.same else "no"
    return f"{prompt.same} of {prompt.n_positions}"


def _first_order(c: TensorComparison, width: int) -> Table:
    table = layout.table()
    for name in ("number", "moved", "foretold", "correlation", "furthest off", "by"):
        table.add_column(name, justify="left" if name in ("number", "furthest off") else "right", no_wrap=True)
    for fit in c.first_order:
        table.add_row(
            fit.number,
            _moved(fit.moved),
            _moved(fit.foretold),
            "" if math.isnan(fit.correlation) else f"{fit.correlation:.2f}",
            _name(fit.worst),
            "" if math.isnan(fit.off) else f"{fit.off:.4f}",
        )
    return layout.narrowed(table, width, ("furthest off", "by"))


def _notes(c: TensorComparison) -> list[str]:
    of = "the answer" if c.positions == "last" else "the text's next token"
    where = "at the last position" if c.positions == "last" else "at every position"
    mean = " (means)" if c.n_positions > 1 else ""
    lines = [
        f"KL: of the prediction from the first file's, in nats, ln p, logit: of {of}, {where}{mean}; by how much each "
        "moves when a tensor of the second file takes the place of the first one's, all before it being the second's "
        "and all behind it the first's, so that they add up",
    ]
    if c.put_back:
        lines.append("regained: by how much less KL is with tensors put back; costs: by how much the file grows")
    lines.append("foretold: to first order, the derivative of the number along the change of the weights")
    if any(term.name == "token_embd.weight" for term in c.tensors) and not any(
        term.name == "output.weight" for term in c.tensors
    ):
        lines.append("token_embd acts in two places, as the tokens' vectors and as the head; its term is of both")
    lines.append(f"{words.duration(sum(c.seconds.values()))} of computing in {c.dtype}")
    return lines


# --- cells ---------------------------------------------------------------------------------------------------------


def _name(name: str) -> Text:
    """A tensor's name, or a group's, without the usual ending."""
    return Text(readable(name.removesuffix(".weight")))


def _kl(one: TensorTerm | TensorGroup, largest: float, total: float) -> list[RenderableType]:
    return [_signed(one.kl), words.bar(one.kl, largest), _share(one.kl, total)]


def _signed(value: float) -> Text:
    """A KL, or what it moves by; less is good."""
    return Cell(f"{value:+.4f}", value=value)


def _moved(value: float) -> Text:
    return Cell(f"{value:+.4f}", "red" if value < -0.00005 else "", value=value)


def _share(value: float, total: float) -> str:
    return words.percent(value / total) if total else ""


def _size(n: int) -> str:
    sign = "+" if n >= 0 else "−"
    n = abs(n)
    return f"{sign}{n / 1e6:.1f} MB" if n >= 1e6 else f"{sign}{n / 1e3:.0f} kB"


def _types_of(best: PutBack) -> tuple[str, str]:
    pairs = [types.split(" → ") for types in best.types]
    one, other = (" and ".join(dict.fromkeys(pair[i] for pair in pairs)) for i in (0, 1))
    return one, other
