"""From what a user types to a file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from ggufjac.errors import UserError
from ggufjac.registry.catalogue import CatalogueEntry, entries
from ggufjac.registry.files import is_model
from ggufjac.registry.local import LocalModel, local_models, stored
from ggufjac.registry.places import Places


def resolve(name: str, places: Places | None = None) -> Path:
    """The file that MODEL means: a path; a name of models.toml; or a name that Ollama, LM Studio or the Hugging
    Face cache has for a model on this disk.

    An exact name comes first, then one that differs in case only. Raises UserError for a name that is unknown
    (with close ones), that means several files (with all of them), or whose model was not pulled yet.
    """
    if os.path.isfile(_user_path(name)):
        return _user_path(name)
    if not name.strip():
        raise UserError("the model's name is empty: give a path to a GGUF file or a name that `ggufjac models` lists")
    places = places or Places.here()
    known, local = entries(places), local_models(places)
    for same, names in ((str.__eq__, _shown_name), (str.__eq__, _all_names), (_same_letters, _all_names)):
        path = _match(name, same, names, known, local, places)
        if path is not None:
            return path
    raise UserError(_unknown(name, known, local))


def find_entry(name: str, known: list[CatalogueEntry]) -> CatalogueEntry:
    """The entry of models.toml that `name` means. Raises UserError, with close names, where there is none."""
    wanted = _short(name)
    for same in (str.__eq__, _same_letters):
        for entry in known:
            if any(same(wanted, other) for other in entry.names):
                return entry
    close = _close(name, [entry.name for entry in known])
    raise UserError(f"models.toml has no model {name!r}{_did_you_mean(close)}; `ggufjac pull` lists the names")


def _user_path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~name of a user who does not exist
        return Path(name)


def _short(name: str) -> str:
    """The name of a repository on the hub without the beginning of an address."""
    for start in ("https://huggingface.co/", "https://hf.co/", "huggingface.co/"):
        if name.startswith(start):
            return "hf.co/" + name.removeprefix(start)
    return name


def _same_letters(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _shown_name(model: LocalModel) -> list[str]:
    return [model.name]


def _all_names(model: LocalModel) -> list[str]:
    return [model.name, *model.aliases]


def _match(
    name: str,
    same: Callable[[str, str], bool],
    names: Callable[[LocalModel], list[str]],
    known: list[CatalogueEntry],
    local: list[LocalModel],
    places: Places,
) -> Path | None:
    for entry in known:
        if any(same(_short(name), other) for other in entry.names):
            return _pulled(entry, places)
    found = [model for model in local if any(same(name, other) for other in names(model))]
    # One file can be known under several names, or through several links.
    distinct = {os.path.realpath(model.path): model for model in reversed(found)}
    if len(distinct) > 1:
        # Names of other models help only where they tell the candidates apart.
        apart = len({model.name for model in distinct.values()}) == len(distinct)
        candidates = ", ".join(
            sorted(f"{model.name if apart else model.path} ({model.source})" for model in distinct.values())
        )
        raise UserError(f"{name!r} means {len(distinct)} models: {candidates}; give one of these")
    return found[0].path if found else None


def _pulled(entry: CatalogueEntry, places: Places) -> Path:
    path = stored(entry, places)
    if path is None:
        raise UserError(f"{entry.name} is not on this disk yet: run `ggufjac pull {entry.name}`")
    return path


def _close(name: str, names: list[str]) -> list[str]:
    """Up to three names that look like this one, those that contain it first."""
    folded: dict[str, str] = {}
    for other in names:
        folded.setdefault(other.casefold(), other)
    needle = name.casefold()
    containing = [other for other in folded if len(needle) > 2 and needle in other]
    similar = difflib.get_close_matches(needle, folded, n=3, cutoff=0.6)
    return [folded[other] for other in dict.fromkeys([*containing, *similar])][:3]


def _did_you_mean(close: list[str]) -> str:
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _unknown(name: str, known: list[CatalogueEntry], local: list[LocalModel]) -> str:
    path = _user_path(name)
    if os.path.isdir(path):
        files = sorted(file for file in os.listdir(path) if is_model(file))
        inside = f": {', '.join(files[:3])}{', ...' if len(files) > 3 else ''}" if files else ", but it holds none"
        return f"{name} is a folder; give a GGUF file in it{inside}"
    names = [entry.name for entry in known]
    names += [other for model in local for other in _all_names(model)]
    looks_like_path = name.lower().endswith(".gguf") or name.startswith((".", "~", os.sep))
    what = f"there is no file {name}" if looks_like_path else f"there is no file and no model {name!r}"
    hint = _did_you_mean(_close(path.stem if looks_like_path else name, names))
    return f"{what}{hint}; a path to a GGUF file works, or a name that `ggufjac models` lists"
