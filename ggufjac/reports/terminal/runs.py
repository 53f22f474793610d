"""Whose computation a report explains, and how exact it is: exact arithmetic's, or llama.cpp's own run."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from ggufjac.analyses.common.followed import Followed
from ggufjac.analyses.exactness import EXACT
from ggufjac.network.followed.run import Remainder
from ggufjac.reports import words
from ggufjac.reports.terminal import layout
from ggufjac.rules import rules_called

#: What the map may miss of llama.cpp's final state, relative, and of its logits, over their spread.
FOLLOWED, FOLLOWED_LOGITS = 1e-5, 1e-4


def run_facts(run: Followed | None, device: str | None) -> list[tuple[str, RenderableType]]:
    """Lines for the head of a report: that llama.cpp's run is explained, where not exact arithmetic is; and where it
    was computed, where not on the CPU."""
    facts: list[tuple[str, RenderableType]] = [] if run is None else [("run", run_line(run))]
    return facts if device is None else [*facts, ("device", Text(device))]


def run_line(run: Followed) -> Text:
    """Which run of llama.cpp is explained, and what capturing it took."""
    cpus = f"{run.threads} thread" + ("s" if run.threads != 1 else "")
    how = f"{run.cache} cache, {cpus}, {'repacked weights' if run.repack else 'weights as they lie in the file'}"
    out = Text.assemble(("llama.cpp's own run", "bold"), f" of this file, all its roundings included ({how})")
    took = f"; {run.seconds:.1f} s, of which {run.copying:.2f} s to copy {words.byte_size(run.copied)}"
    return out.append(took, style=words.DIM)


def exactness_line(reconstruction: float, dtype: str, run: Followed | None, rules: str) -> Text:
    """How far the map is from the output: in its dtype, or from what llama.cpp computed, which is float32. What rules
    miss that do not reconstruct is theirs, and no error."""
    if not rules_called(rules).reconstructs:
        return Text(
            f"rules {rules!r} do not reconstruct: the map leaves out {words.percent(reconstruction)} of the output"
        )
    if run is None:
        return layout.exactness_line(reconstruction, dtype)
    limit = max(FOLLOWED, EXACT[dtype])
    good = reconstruction < limit and run.logits < FOLLOWED_LOGITS and run.same_first
    out = Text.assemble(
        (words.small(reconstruction), words.GOOD if good else words.BAD),
        f"  is what the linear map misses of llama.cpp's output, {words.small(run.logits)} of its logits' spread; ",
        f"the largest remainder of a step is {words.small(run.worst.relative)} ({where(run.worst)})",
    )
    if not good:
        out.append(f"; they should be below {limit:g} and {FOLLOWED_LOGITS:g}")
    return out


def where(step: Remainder) -> str:
    """The part and the layer of a step."""
    return f"{step.part}, layer {step.layer}" if step.layer >= 0 else step.part
