"""What came of a batch: by model and analysis, and the failures one by one."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ggufjac.batch.store import DONE, FAILED, PENDING
from ggufjac.rules import rules_called


@dataclass(frozen=True)
class Group:
    """All prompts of one analysis on one model.

    reconstruction, worst: mean and largest relative error of the linear maps by rules that reconstruct (None: there is
    none yet); left_out: the mean share of the output that the others leave out, by design, crediting it to no token
    (None: there are no others); verdicts: how
    often llama.cpp was found to agree, by verdict; kl: the mean of its predictions' divergence from the exact ones, in
    nats; seconds: of computing, all units together.
    """

    model: str
    fingerprint: str
    analysis: str
    done: int
    failed: int
    pending: int
    reconstruction: float | None
    worst: float | None
    verdicts: dict[str, int]
    kl: float | None
    seconds: float
    left_out: float | None = None


@dataclass(frozen=True)
class Failure:
    """A unit without a result; line: of the prompts' file; prompt: its text, or its ids as a JSON list."""

    line: int
    id: str | None
    prompt: str
    model: str
    analysis: str
    error: str


@dataclass(frozen=True)
class Note:
    """What a reader should know, once. text: the note; models: those of the units that it is about; units: how many."""

    text: str
    models: tuple[str, ...]
    units: int


@dataclass(frozen=True)
class Summary:
    """The units of a folder, or some of them. notes: each once, those of the most units first."""

    folder: str
    groups: tuple[Group, ...]
    failures: tuple[Failure, ...]
    notes: tuple[Note, ...] = ()

    @property
    def done(self) -> int:
        return sum(group.done for group in self.groups)

    @property
    def failed(self) -> int:
        return sum(group.failed for group in self.groups)

    @property
    def pending(self) -> int:
        return sum(group.pending for group in self.groups)


def summary_of(rows: Sequence[sqlite3.Row], folder: str, keys: Collection[str] | None = None) -> Summary:
    """Sum up the rows of a store, those with the given keys (None: all), in their order."""
    chosen = [row for row in rows if keys is None or row["key"] in keys]
    groups: dict[tuple[str, str, str], list[sqlite3.Row]] = {}
    for row in chosen:
        groups.setdefault((row["model"], row["fingerprint"], row["analysis"]), []).append(row)
    return Summary(
        folder=folder,
        groups=tuple(_group(*names, members) for names, members in groups.items()),
        failures=tuple(
            Failure(row["line"], row["id"], row["prompt"], row["model"], row["analysis"], row["error"])
            for row in chosen
            if row["status"] == FAILED
        ),
        notes=_notes([row for row in chosen if row["status"] == DONE and row["notes"]]),
    )


def _notes(rows: Sequence[sqlite3.Row]) -> tuple[Note, ...]:
    models: dict[str, list[str]] = {}
    for row in rows:
        for text in json.loads(row["notes"]):
            models.setdefault(text, []).append(row["model"])
    notes = [Note(text, tuple(dict.fromkeys(found)), len(found)) for text, found in models.items()]
    return tuple(sorted(notes, key=lambda note: -note.units))


def _group(model: str, fingerprint: str, analysis: str, rows: Sequence[sqlite3.Row]) -> Group:
    status = Counter(row["status"] for row in rows)
    done = [row for row in rows if row["status"] == DONE]
    errors, left_out = list[float](), list[float]()
    for row in done:
        if row["reconstruction"] is not None:
            exact = row["rules"] is None or rules_called(row["rules"]).reconstructs
            (errors if exact else left_out).append(row["reconstruction"])
    divergences = [row["kl"] for row in done if row["kl"] is not None]
    return Group(
        model=model,
        fingerprint=fingerprint,
        analysis=analysis,
        done=status[DONE],
        failed=status[FAILED],
        pending=status[PENDING],
        reconstruction=sum(errors) / len(errors) if errors else None,
        worst=max(errors, default=None),
        verdicts=dict(Counter(row["verdict"] for row in done if row["verdict"] is not None).most_common()),
        kl=sum(divergences) / len(divergences) if divergences else None,
        seconds=sum(row["seconds"] or 0.0 for row in rows),
        left_out=sum(left_out) / len(left_out) if left_out else None,
    )
