"""What the README and the list of families generate is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from ggufjac.families import ARCHITECTURES
from ggufjac.reports.tables.families import families_markdown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
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


def test_what_the_readme_says_was_measured() -> None:
    measured = README[README.index("## Is it true?") : README.index("## Read on")]
    numbers = set(re.findall(r"\d+\.\d+(?:e-\d+)?", measured.replace("Llama 3.", "")))
    assert len(numbers) > 15
    assert [number for number in sorted(numbers) if number not in RESULTS] == []


def test_the_readmes_ranges_are_those_of_all_families() -> None:
    table = RESULTS[RESULTS.index("## families") : RESULTS.index("## instructions")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if len(row) == 8 and row[1].isdigit()]
    assert {row[0] for row in rows} <= set(ARCHITECTURES)
    text = " ".join(README.split())
    for column in (2, 4, 5, 6):
        least, most = (choose((row[column] for row in rows), key=float) for choose in (min, max))
        assert f"{least} to {most}" in text
    assert f"at most {max((row[3] for row in rows if row[3]), key=float)}" in text
