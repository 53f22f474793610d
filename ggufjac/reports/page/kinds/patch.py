"""`patch` on a page: of every place what it restores, and what each estimate says, on its card."""

from __future__ import annotations

from ggufjac.analyses.patch import Patching
from ggufjac.analyses.restored import PatchedHeads
from ggufjac.reports.page.markup import join
from ggufjac.reports.page.tokens import Card, word
from ggufjac.reports.phrases import patched
from ggufjac.reports.terminal.patchgrid import InPatchGrid, head_called, restored


def card(a: Patching, about: object) -> Card | None:
    """A place of a grid."""
    if not isinstance(about, InPatchGrid):
        return None
    told = (
        ("restores", f"{restored(about):+.2%}"),
        *((f"estimate, {e.rules}", f"{e.restored[about.row][about.column]:+.2%}") for e in about.part.estimates),
    )
    if isinstance(about.part, PatchedHeads):
        return (("head", join((f"{head_called(about)}, at all patched positions together",), " ")), *told)
    token = a.tokens[a.positions[about.column]]
    where = join((f"layer {about.part.layers[about.row]}, {patched(about.part.part)}, position {token.position}",), " ")
    return (
        ("place", where),
        ("clean", word(token.clean)),
        ("corrupt", word(token.corrupt)),
        *told,
    )
