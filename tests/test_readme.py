"""What the README generates is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from ggufjac.reports.tables.families import families_markdown

README = Path(__file__).parent.parent / "README.md"


def test_the_table_of_families_is_the_generated_one() -> None:
    found = re.search(r"<!-- families -->\n(.*)\n<!-- /families -->", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert found.group(1) == families_markdown(), "replace it with the output of `ggufjac families --markdown`"


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README.read_text(encoding="utf-8")
