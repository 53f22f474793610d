"""What tests of batches share: prompts, how they are analysed, and what two runs must have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ggufjac.analyses.common.result import Result
from ggufjac.analyses.options import BatchOptions
from ggufjac.analyses.table import load
from ggufjac.batch.store import DATABASE, RESULTS, reading

PROMPTS = ("The bridge", "out", "and the bridge is", "in the", "idge")


HOW = BatchOptions(top=2, verify=False)


#: What two runs of the same units do not share.
OF_THE_RUN = {"seconds", "finished", "file", "bytes"}


def rows(folder: Path) -> list[dict[str, Any]]:
    with reading(folder) as store:
        return [{name: row[name] for name in row.keys() if name not in OF_THE_RUN} for row in store.rows()]  # noqa: SIM118


def facts(result: Result) -> dict[str, Any]:
    return {name: value for name, value in result.to_dict().items() if name != "seconds"}


def same(one: Path, other: Path) -> None:
    """The same rows in the same order, one file for each and no other, and the same in every file."""
    assert rows(one) == rows(other)
    names = [row["result"] for row in rows(one) if row["result"] is not None]
    assert len(set(names)) == len(names)
    for folder in (one, other):
        assert sorted(p.name for p in folder.iterdir()) == [DATABASE, RESULTS]
        assert {f"{RESULTS}/{p.name}" for p in (folder / RESULTS).iterdir()} == set(names)
    for name in names:
        a, b = load(one / name), load(other / name)
        assert facts(a) == facts(b)
        for array in a.arrays:
            assert torch.equal(a.arrays[array], b.arrays[array]), array
