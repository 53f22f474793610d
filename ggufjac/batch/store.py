"""A folder of results: a row for every unit in SQLite, its arrays and facts in a safetensors file beside it.

A result's file comes first: whole, on the disk, under its unit's key; then one transaction turns its row from pending
to done. So after an interruption at any point, a power cut too, a unit is either done, with its file, or still to be
done. The next run reads what it believes: a file whose content is not what its checksum says is computed again, and a
file without its row (the run was killed between both, the table is lost) gets one. No result is ever deleted.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ggufjac.analyses.table import COMMANDS, read_result
from ggufjac.atomic import settled
from ggufjac.batch.headline import headline
from ggufjac.batch.units import Unit
from ggufjac.errors import UserError
from ggufjac.readable import storable
from ggufjac.registry.lock import locked
from ggufjac.version import __version__

DATABASE, RESULTS, LOCK = "batch.sqlite", "results", "batch.lock"
#: What SQLite keeps beside its file while a transaction is under way.
JOURNAL = f"{DATABASE}-journal"
#: PRAGMA user_version of the table below.
SCHEMA = 4
#: Seconds to wait for another process that is reading or writing.
PATIENCE = 30.0

#: The temporary files that become results (ggufjac.atomic).
TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.safetensors\.")

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
    traceback TEXT,            -- where that is a fault of ggufjac
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
    rules TEXT,                -- how the model was linearised
    reconstruction REAL,       -- relative error of the linear map; of rules that leave something out, how much
    stable_rank REAL,          -- of the map of all tokens together
    verdict TEXT,              -- llama.cpp beside it: MATCH, NEAR-TIE, MISMATCH
    kl REAL,                   -- of llama.cpp's prediction, in nats
    notes TEXT,                -- what a reader should know of the file and of the prompt, a JSON list
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
        """Give every unit its row, and return those that are to be computed: without a result that can be believed.

        Results that are there without their rows are taken up. Rows that an older version of ggufjac left pending are
        taken out; nothing would ever compute them.
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
        done = {row["key"] for row in self._connection.execute("SELECT key FROM units WHERE status = ?", (DONE,))}
        return [unit for unit in units if not self._has(unit, unit.key in done)]

    def record_failure(self, unit: Unit, error: str, seconds: float, fault: str | None = None) -> None:
        """Say of a unit why there is no result; fault: the traceback, where that is one of the program."""
        nothing = {"result": None, "bytes": None}
        self._update(unit, {"status": FAILED, "error": error, "traceback": fault, "seconds": seconds, **nothing})

    def record(self, unit: Unit, saved: Path, said: dict[str, Any], seconds: float) -> None:
        """Say of a unit that its result lies in `saved`, a file of this folder; said: columns of the table."""
        name, size = saved.relative_to(self.folder).as_posix(), saved.stat().st_size
        why = {"error": None, "traceback": None}
        self._update(unit, {"status": DONE, **why, "seconds": seconds, "result": name, "bytes": size, **said})

    def place(self, unit: Unit) -> Path:
        """Where the result of a unit belongs."""
        return self.folder / RESULTS / f"{unit.key}.safetensors"

    def sweep(self) -> None:
        """Remove the temporary files that a killed process has left."""
        for path in (self.folder / RESULTS).iterdir():
            if TEMPORARY.match(path.name):
                path.unlink()

    def rows(self) -> list[sqlite3.Row]:
        """All rows, in the order in which they were planned; of an older version's table with all columns too."""
        missing = "".join(f", NULL AS {name}" for name, _ in _lacking(self._connection))
        return list(self._connection.execute(f"SELECT *{missing} FROM units ORDER BY rowid"))

    def _has(self, unit: Unit, done: bool) -> bool:
        """Whether a unit's result is there and is what was written; its row says so afterwards, whatever it said."""
        place = self.place(unit)
        result = None
        if place.exists():
            with suppress(UserError):
                found, checked = read_result(place)
                if found.kind == COMMANDS[unit.analysis].kind and (checked or done):
                    result = found
        if result is not None and not done:
            taken = sum(getattr(result, "seconds", {}).values())
            self.record(unit, place, headline(result), taken)
        elif result is None and done:
            with self._connection:
                self._connection.execute("UPDATE units SET status = ? WHERE key = ?", (PENDING, unit.key))
        return result is not None

    def _update(self, unit: Unit, columns: dict[str, Any]) -> None:
        columns["finished"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        columns["file"] = unit.model.path
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with self._connection:
            values = [storable(value) if isinstance(value, str) else value for value in columns.values()]
            self._connection.execute(f"UPDATE units SET {assignments} WHERE key = ?", (*values, unit.key))


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
        settled(place.parent)
    except OSError as error:
        raise UserError(f"{folder} cannot be used for results: {error.strerror}") from None
    if not os.access(place, os.W_OK):
        raise UserError(f"{folder} cannot be written")
    with locked(place / LOCK, str(folder), "written"), _connected(place, folder, "rwc") as connection:
        with connection:
            connection.execute(TABLE)
            _grown(connection)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
        settled(place)
        store = Store(place, connection)
        store.sweep()
        yield store


@contextmanager
def reading(folder: str | Path) -> Iterator[Store]:
    """The folder's store, to be read, also while another process writes. Raises UserError where there is none."""
    place = Path(folder).absolute()
    if not os.path.isfile(place / DATABASE):
        raise UserError(f"{folder} is no folder of results; `ggufjac run PROMPTS MODEL --out FOLDER` makes one")
    with _connected(place, folder, "rw") as connection:  # a killed writer's transaction has to be rolled back
        yield Store(place, connection)


@contextmanager
def _connected(place: Path, folder: str | Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = None
    try:
        connection = sqlite3.connect(f"{(place / DATABASE).as_uri()}?mode={mode}", timeout=PATIENCE, uri=True)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous = EXTRA")  # what is committed is on the disk
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA or (found == 0 and mode == "rw"):
            raise UserError(f"{place / DATABASE}: written by another version of ggufjac, or by something else")
        yield connection
    except sqlite3.DatabaseError as error:
        if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            raise  # the others are mistakes of the program
        damaged = type(error) is sqlite3.DatabaseError
        hint = f"; move it away, and the same run takes up the results that lie in {RESULTS}" if damaged else ""
        raise UserError(f"{folder}: its table {DATABASE} cannot be used ({error}){hint}") from None
    finally:
        if connection is not None:
            connection.close()


def _grown(connection: sqlite3.Connection) -> None:
    """Give the table of an older version the columns that it lacks."""
    for name, kind in _lacking(connection):
        connection.execute(f"ALTER TABLE units ADD COLUMN {name} {kind}")


def _lacking(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The columns that an older version's table does not have, with their types."""
    known = {row["name"] for row in connection.execute("PRAGMA table_info(units)")}
    found = []
    for line in TABLE.splitlines():
        name, kind, *_ = [*line.strip().rstrip(",").split(), "", ""]
        if line.startswith("    ") and name not in known and name.isidentifier():
            found.append((name, kind.rstrip(",")))
    return found


def _foreign(place: Path) -> bool:
    """Whether a folder holds anything but what a run leaves, its table perhaps lost."""
    return any(path.name not in (RESULTS, LOCK, JOURNAL) for path in place.iterdir())


def _planned(unit: Unit) -> tuple[Any, ...]:
    p = unit.prompt
    given: Any = p.prompt
    if p.messages:
        given = [{"role": message.role, "content": message.content} for message in p.messages]
    prompt = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    source = (unit.model.name, unit.model.path, unit.model.fingerprint)
    options = json.dumps(unit.options.identity(), sort_keys=True)
    row = (
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
    return tuple(storable(value) if isinstance(value, str) else value for value in row)
