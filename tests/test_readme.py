"""What the README and the list of families generate is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from ggufjac.families import ARCHITECTURES
from ggufjac.reports.tables.families import families_markdown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FAMILIES = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")


def test_the_table_of_families_is_the_generated_one() -> None:
    found = re.search(r"<!-- families -->\n(.*)\n<!-- /families -->", FAMILIES, re.DOTALL)
    assert found is not None
    assert found.group(1) == families_markdown(), "replace it with the output of `ggufjac families --markdown`"


def test_the_readme_counts_them() -> None:
    assert re.findall(r"(\d+)\s+architectures", README) == [str(len(ARCHITECTURES))]


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 17 << 10


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README
