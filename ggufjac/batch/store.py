"""A folder of results: a row for every unit in SQLite, its arrays and facts in a safetensors file beside it.

A result's file is written first, whole or not at all, under the unit's key; then one transaction turns its row from
pending to done. So after an interruption at any point a unit is either done, with its file, or still to be done; what a
killed process leaves besides (a temporary file, a file without its row) is removed by the next run.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ggufjac.batch.units import Unit
from ggufjac.errors import UserError
from ggufjac.registry.lock import locked
from ggufjac.version import __version__

DATABASE, RESULTS, LOCK = "batch.sqlite", "results", "batch.lock"
#: PRAGMA user_version of the table below.
SCHEMA = 2
#: Seconds to wait for another process that is reading or writing.
PATIENCE = 30.0

#: Results by their units' keys, and the temporary files that become them (ggufjac.atomic).
OURS = re.compile(r"[0-9a-f]{32}\.safetensors$|\.[0-9a-f]{32}\.safetensors\.")

PENDING, DONE, FAILED = "pending", "done", "failed"

TABLE = """
CREATE TABLE IF NOT EXISTS units (
    key TEXT PRIMARY KEY,      -- a hash of all that the result depends on
    status TEXT NOT NULL CHECK (status IN ('pending', 'done', 'failed')),
    line INTEGER NOT NULL,     -- of the prompts' file, from 1
    id TEXT,
    prompt TEXT NOT NULL,      -- as it was given; token ids and the messages of a chat as a JSON list
    target TEXT,
    answer TEXT,
    extra TEXT,                -- the other fields of the prompt's line, a JSON object
    model TEXT NOT NULL,
    file TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    analysis TEXT NOT NULL,
    options TEXT NOT NULL,     -- JSON
    version TEXT NOT NULL,     -- of ggufjac
    error TEXT,                -- why it failed
    text TEXT,                 -- that the model has read, a chat as its template makes it
    n_tokens INTEGER,
    prediction TEXT,           -- the likeliest next token
    prediction_id INTEGER,
    probability REAL,
    logit REAL,
    explained TEXT,            -- the token that is explained or followed
    explained_rank INTEGER,    -- from 1
    explained_probability REAL,
    source1 TEXT,              -- the word, or token, that gives most to it, and how much; then the next ones
    term1 REAL,
    source2 TEXT,
    term2 REAL,
    source3 TEXT,
    term3 REAL,
    reconstruction REAL,       -- relative error of the linear map
    stable_rank REAL,          -- of the map of all tokens together
    verdict TEXT,              -- llama.cpp beside it: MATCH, NEAR-TIE, MISMATCH
    kl REAL,                   -- of llama.cpp's prediction, in nats
    seconds REAL,
    finished TEXT,             -- UTC, ISO 8601
    result TEXT,               -- the file in this folder; `ggufjac show` prints its report
    bytes INTEGER              -- of that file
)
"""


class Store:
    """One folder of results, open. Get one from `writing` or `reading`."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._connection = connection

    def plan(self, units: Sequence[Unit]) -> list[Unit]:
        """Give every unit its row, and return those that are to be computed: neither done nor without their file.

        Rows that an older version of ggufjac left pending are taken out; nothing would ever compute them.
        """
        with self._connection:
            self._connection.execute("DELETE FROM units WHERE status = ? AND version != ?", (PENDING, __version__))
            self._connection.executemany(
                "INSERT OR IGNORE INTO units (key, status, line, id, prompt, target, answer, model, file, fingerprint,"
                " analysis, options, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_planned(unit) for unit in units],
            )
            # what changes no result may be another by now
            self._connection.executemany(
                "UPDATE units SET line = ?, extra = ? WHERE key = ?",
                [(unit.prompt.line, unit.prompt.extra or None, unit.key) for unit in units],
            )
        there = {key for key, name, size in self._files() if _size(self.folder / name) == size}
        return [unit for unit in units if unit.key not in there]

    def record_failure(self, unit: Unit, error: str, seconds: float) -> None:
        """Say of a unit why there is no result."""
        self._update(unit, {"status": FAILED, "error": error, "seconds": seconds})

    def record(self, unit: Unit, saved: Path, headline: dict[str, Any], seconds: float) -> None:
        """Say of a unit that its result lies in `saved`, a file of this folder; headline: columns of the table."""
        name, size = saved.relative_to(self.folder).as_posix(), saved.stat().st_size
        self._update(
            unit, {"status": DONE, "error": None, "seconds": seconds, "result": name, "bytes": size, **headline}
        )

    def place(self, unit: Unit) -> Path:
        """Where the result of a unit belongs."""
        return self.folder / RESULTS / f"{unit.key}.safetensors"

    def sweep(self) -> None:
        """Remove what a killed process has left: temporary files, and results that no row knows."""
        known = {name for _, name, _ in self._files()}
        for path in (self.folder / RESULTS).iterdir():
            if OURS.match(path.name) and path.relative_to(self.folder).as_posix() not in known:
                path.unlink()

    def rows(self) -> list[sqlite3.Row]:
        """All rows, in the order in which they were planned."""
        return list(self._connection.execute("SELECT * FROM units ORDER BY rowid"))

    def _files(self) -> list[tuple[str, str, int]]:
        rows = self._connection.execute("SELECT key, result, bytes FROM units WHERE status = ?", (DONE,))
        return [(row["key"], row["result"], row["bytes"]) for row in rows]

    def _update(self, unit: Unit, columns: dict[str, Any]) -> None:
        columns["finished"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        columns["file"] = unit.model.path
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with self._connection:
            self._connection.execute(f"UPDATE units SET {assignments} WHERE key = ?", (*columns.values(), unit.key))


@contextmanager
def writing(folder: str | Path) -> Iterator[Store]:
    """The folder's store for one process alone; the folder is made where there is none.

    Raises UserError where another process is writing to it, where it is no folder of results, and where it cannot be
    written.
    """
    place = Path(folder).absolute()
    try:
        if place.is_dir() and not (place / DATABASE).exists() and _foreign(place):
            raise UserError(f"{folder} holds other things; give --out a new or an empty folder, or one of results")
        (place / RESULTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be used for results: {error.strerror}") from None
    if not os.access(place, os.W_OK):
        raise UserError(f"{folder} cannot be written")
    with locked(place / LOCK, str(folder), "written"), _connected(place, folder, "rwc") as connection:
        with connection:
            connection.execute(TABLE)
            _grown(connection)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
        store = Store(place, connection)
        store.sweep()
        yield store


@contextmanager
def reading(folder: str | Path) -> Iterator[Store]:
    """The folder's store, to be read, also while another process writes. Raises UserError where there is none."""
    place = Path(folder).absolute()
    if not (place / DATABASE).is_file():
        raise UserError(f"{folder} is no folder of results; `ggufjac run PROMPTS MODEL --out FOLDER` makes one")
    with _connected(place, folder, "rw") as connection:  # a killed writer's transaction has to be rolled back
        yield Store(place, connection)


@contextmanager
def _connected(place: Path, folder: str | Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = None
    try:
        connection = sqlite3.connect(f"{(place / DATABASE).as_uri()}?mode={mode}", timeout=PATIENCE, uri=True)
        connection.row_factory = sqlite3.Row
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA or (found == 0 and mode == "rw"):
            raise UserError(f"{place / DATABASE}: written by another version of ggufjac, or by something else")
        yield connection
    except sqlite3.DatabaseError as error:
        if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            raise  # the others are mistakes of the program
        raise UserError(f"{folder}: its table {DATABASE} cannot be used ({error})") from None
    finally:
        if connection is not None:
            connection.close()


def _grown(connection: sqlite3.Connection) -> None:
    """Give the table of an older version the columns that it lacks."""
    known = {row["name"] for row in connection.execute("PRAGMA table_info(units)")}
    for line in TABLE.splitlines():
        name, kind, *_ = [*line.strip().rstrip(",").split(), "", ""]
        if line.startswith("    ") and name not in known and name.isidentifier():
            connection.execute(f"ALTER TABLE units ADD COLUMN {name} {kind.rstrip(',')}")


def _foreign(place: Path) -> bool:
    """Whether a folder holds anything that a run which was killed at once would not have left."""
    return any(path.name not in (RESULTS, LOCK) for path in place.iterdir())


def _planned(unit: Unit) -> tuple[Any, ...]:
    p = unit.prompt
    given: Any = p.prompt
    if p.messages:
        given = [{"role": message.role, "content": message.content} for message in p.messages]
    prompt = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    source = (unit.model.name, unit.model.path, unit.model.fingerprint)
    options = json.dumps(unit.options.identity(), sort_keys=True)
    return (
        unit.key,
        PENDING,
        p.line,
        p.id,
        prompt,
        p.target,
        p.answer,
        *source,
        unit.analysis,
        options,
        __version__,
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
