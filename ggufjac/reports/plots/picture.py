"""One picture: a figure with a name."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from matplotlib.figure import Figure

from ggufjac.reports.plots.style import styled

#: Pixels to the inch of a PNG file, and of what a notebook shows.
DPI, NOTEBOOK_DPI = 160, 96
#: A file without a date, so that the same result gives the same bytes.
UNDATED: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": "ggufjac"},
    "png": {"Software": "ggufjac"},
}


@dataclass(frozen=True)
class Picture:
    """name: of its file, without the ending; title: what it shows."""

    name: str
    title: str
    figure: Figure

    def write(self, target: Path | BinaryIO, form: str, dpi: int = DPI) -> None:
        with styled():
            self.figure.savefig(target, format=form, dpi=dpi, metadata=UNDATED[form])

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.write(out, "png", NOTEBOOK_DPI)
        return out.getvalue()
