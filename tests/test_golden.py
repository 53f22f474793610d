"""No number that users see moves unnoticed: every kind of result beside what was kept of it."""

from __future__ import annotations

import json

import pytest

from ggufjac.analyses.common.result import Result
from ggufjac.analyses.table import KINDS
from ggufjac.maps.model import Model
from goldens import FOLDER, golden, moved
from results import precise


@pytest.fixture(scope="module")
def now(tiny: Model) -> dict[str, Result]:
    return precise(tiny)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_has_moved(kind: str, now: dict[str, Result]) -> None:
    was = json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8"))
    # what was written as JSON comes back with lists for tuples
    found = json.loads(json.dumps(golden(now[kind])))
    assert list(moved(was, found)) == []


def test_a_move_is_seen() -> None:
    was = {"sigma": 1.0, "tokens": [{"id": 3}], "seconds": {"a": 1.0}}
    assert list(moved(was, {**was, "seconds": {}})) == []
    assert list(moved(was, {**was, "sigma": 1.00001})) == [".sigma was 1.0 and is 1.00001"]
    assert list(moved(was, {**was, "tokens": [{"id": 4}]})) == [".tokens[0].id was 3 and is 4"]
    assert list(moved(was, {**was, "tokens": []})) == [".tokens had 1 entries and has 0"]
