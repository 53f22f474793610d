"""From what a user types to a file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from ggufjac.errors import UserError
from ggufjac.registry.catalogue import CatalogueEntry, entries
from ggufjac.registry.files import is_model
from ggufjac.registry.local import local_models, stored
from ggufjac.registry.places import Places
from ggufjac.registry.stores.model import LocalModel


def resolve(name: str, places: Places | None = None) -> Path:
    """The file that MODEL means: a path; a name of models.toml; or a name that Ollama, LM Studio, llama.cpp or the
    Hugging Face cache has for a model on this disk.

    An exact name comes first, then one that differs in case only. Raises UserError for a name that is unknown
    (with close ones, and the folders that were searched), that means several files (with all of them), whose model was
    not pulled yet, or whose model no file on this disk is by itself.
    """
    given = _user_path(name)
    if os.path.exists(given) and not os.path.isdir(given):
        return given  # what is no regular file, the reader refuses
    if not name.strip():
        raise UserError("the model's name is empty: give a path to a GGUF file or a name that `ggufjac models` lists")
    places = places or Places.here()
    known, local = entries(places), local_models(places)
    for same, names in ((str.__eq__, _shown_name), (str.__eq__, _all_names), (_same_letters, _all_names)):
        path = _match(name, same, names, known, local, places)
        if path is not None:
            return path
    raise UserError(_unknown(name, known, local, places))


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


def _answers(model: LocalModel, name: str) -> bool:
    return any(_same_letters(name, other) for other in _all_names(model))


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
            return _pulled(entry, places, [model for model in local if _answers(model, name)])
    asked = {name, _short(name).removeprefix("hf.co/")}  # Ollama's names begin with hf.co, nobody else's
    found = [model for model in local if any(same(one, other) for one in asked for other in names(model))]
    # One file can be known under several names, or through several links.
    distinct = {os.path.realpath(model.path): model for model in reversed(found)}
    if len(distinct) > 1:
        # Names of other models help only where they tell the candidates apart.
        apart = len({model.name for model in distinct.values()}) == len(distinct)
        candidates = ", ".join(
            sorted(f"{model.name if apart else model.path} ({model.source})" for model in distinct.values())
        )
        raise UserError(f"{name!r} means {len(distinct)} models: {candidates}; give one of these")
    if not found:
        return None
    if found[0].refusal is not None:
        raise UserError(f"{found[0].name}: {found[0].refusal}")
    return found[0].path


def _pulled(entry: CatalogueEntry, places: Places, others: list[LocalModel]) -> Path:
    """The file of an entry; `others` are models that other programs have by this name."""
    path = stored(entry, places)
    if path is None:
        also = [f"{model.name} for the one of {model.source}" for model in others if model.name not in entry.names]
        hint = f", or say {' or '.join(also)}" if also else ""
        raise UserError(f"{entry.name} is not on this disk yet: run `ggufjac pull {entry.name}`{hint}")
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


def _unknown(name: str, known: list[CatalogueEntry], local: list[LocalModel], places: Places) -> str:
    path = _user_path(name)
    if os.path.isdir(path):
        return f"{name} is a folder; {_inside(path)}"
    if os.path.islink(path):
        return f"{name} is a link to {os.path.realpath(path)}, which is not there; is its disk connected?"
    try:
        os.stat(path)
    except PermissionError:
        return f"{name} cannot be reached: your user may not look into its folder; have yourself permitted to"
    except (OSError, ValueError):
        pass
    whole = path.with_name(f"{path.name}.gguf") if path.name else path
    if os.path.isfile(whole):
        return f"there is no file {name}; did you mean {whole}?"
    names = [entry.name for entry in known]
    names += [other for model in local for other in _all_names(model)]
    odd = _odd(name)
    if odd is not None:
        return f"there is no file and no model {name!r}; {odd}"
    looks_like_path = name.lower().endswith(".gguf") or name.startswith((".", "~", os.sep))
    what = f"there is no file {name}" if looks_like_path else f"there is no file and no model {name!r}"
    hint = _did_you_mean(_close(path.stem if looks_like_path else name, names))
    help_ = "a path to a GGUF file works, or a name that `ggufjac models` lists"
    return f"{what}{hint}; {help_}{'' if looks_like_path else _searched(places)}"


def _odd(name: str) -> str | None:
    """What came along when a path was copied; None where nothing did."""
    unseen = [letter for letter in name if not letter.isprintable()]
    if unseen:
        return f"it has characters that cannot be seen (U+{ord(unseen[0]):04X}), as copied paths can: type it anew"
    if name.strip("\"'") != name and os.path.isfile(_user_path(name.strip("\"'"))):
        return "give it without the quotation marks"
    if name.startswith("file://"):
        return "give the path without file://"
    return None


def _inside(folder: Path) -> str:
    """What to give instead of a folder."""
    try:
        files = sorted(os.listdir(folder))
    except OSError as error:
        return f"give a GGUF file in it, but it cannot be read ({error.strerror})"
    models = [file for file in files if is_model(file)]
    if models:
        return f"give a GGUF file in it: {', '.join(models[:3])}{', ...' if len(models) > 3 else ''}"
    if any(file.endswith((".safetensors", ".safetensors.index.json")) for file in files):
        return "it holds a model in safetensors: make a GGUF file of it with llama.cpp's convert_hf_to_gguf.py"
    return "give a GGUF file in it, but it holds none"


def _searched(places: Places) -> str:
    """Where models were looked for, and where that was forbidden."""
    found: dict[str, list[str]] = {"searched": [], "not allowed to read": []}
    for program, folder in places.searched():
        try:
            os.listdir(folder)
        except PermissionError:
            found["not allowed to read"].append(f"{folder} ({program})")
        except OSError:
            continue
        else:
            found["searched"].append(f"{folder} ({program})")
    if not found["searched"]:
        found["searched"] = [
            "none of the folders of Ollama, LM Studio, llama.cpp, Hugging Face, Jan or GPT4All is here"
        ]
    lists = "; ".join(f"{how}: {', '.join(folders)}" for how, folders in found.items() if folders)
    return f" ({lists}; GGUFJAC_MODELS names more)"
