"""All analyses: the one table in which commands, batches, functions and files find theirs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufjac.errors import UserError
from ggufjac.readable import briefly, storable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ggufjac.analyses.common.result import Result
    from ggufjac.analyses.options import AnalysisOptions

ROOM = "ggufjac.analyses"


@dataclass(frozen=True)
class AnalysisEntry:
    """One analysis. command: what computes it is called; kind: of its result; module, function, result: where they are.

    options: the name of its record in ggufjac.analyses.options. batch: whether it is of one prompt on one model, so
    that it can be run for many.
    """

    command: str
    kind: str
    module: str
    result: str
    options: str = ""
    batch: bool = False

    @property
    def function(self) -> Callable[..., Any]:
        """What computes a result."""
        found: Callable[..., Any] = getattr(import_module(f"{ROOM}.{self.module}"), self.command)
        return found

    @property
    def result_class(self) -> type[Result]:
        found: type[Result] = getattr(import_module(f"{ROOM}.{self.module}"), self.result)
        return found

    @property
    def options_class(self) -> type[AnalysisOptions]:
        """Its record of options; imports nothing heavy."""
        found: type[AnalysisOptions] = getattr(import_module(f"{ROOM}.options"), self.options)
        return found


TABLE = (
    AnalysisEntry("analyze", "analysis", "analyze", "Analysis", "AnalyzeOptions", batch=True),
    AnalysisEntry("layers", "layers", "layers", "Layers", "LayersOptions", batch=True),
    AnalysisEntry("attribute", "attribution", "attribute", "Attribution", "AttributeOptions", batch=True),
    AnalysisEntry("answer", "answer", "answer.answering", "Answer", "AnswerOptions", batch=True),
    AnalysisEntry("ordinary", "ordinary", "ordinary", "Ordinary", "OrdinaryOptions", batch=True),
    AnalysisEntry("extremes", "extremes", "extremes", "Extremes", "ExtremesOptions", batch=True),
    AnalysisEntry("ablate", "ablation", "ablate", "Ablation", "AblateOptions", batch=True),
    AnalysisEntry("patch", "patch", "patch", "Patching", "PatchOptions"),
    AnalysisEntry("steer", "steering", "steer.steering", "Steered", "SteerOptions"),
    AnalysisEntry("steer_pairs", "steering-pairs", "steer.pairs", "SteeredPairs", "SteerPairsOptions"),
    AnalysisEntry("steer_words", "steering-words", "steer.words", "SteeredWords", "SteerWordsOptions"),
    AnalysisEntry("compare", "comparison", "compare.comparison", "Comparison", "CompareOptions"),
    AnalysisEntry(
        "compare_tensors", "tensor-comparison", "compare.tensors", "TensorComparison", "CompareTensorsOptions"
    ),
    AnalysisEntry("explain", "explanation", "judge.explain", "Explanation", "ExplainOptions"),
    AnalysisEntry("lens", "lens", "lens.read", "LensGrids"),
    AnalysisEntry("plan", "plan", "plan", "Plan"),
    AnalysisEntry("lens_vectors", "lens-vectors", "lens.vectors", "LensVectors"),
    AnalysisEntry("lens_swap", "lens-swap", "lens.swap", "LensSwap"),
    AnalysisEntry("lens_compare", "lens-comparison", "lens.comparison", "LensComparison"),
)
COMMANDS = {entry.command: entry for entry in TABLE}
KINDS = {entry.kind: entry for entry in TABLE}


def load(source: str | Path) -> Result:
    """The result in a file that `Result.save` wrote, of whatever kind.

    Raises UserError for any other file, and for one whose content is not what was written.
    """
    return read_result(source)[0]


def read_result(source: str | Path) -> tuple[Result, bool]:
    """The same, and whether a checksum in the file says that its content is what was written; files of versions before
    there was one have none. Raises UserError as `load` does."""
    from safetensors import safe_open

    from ggufjac.analyses.common.result import DIGEST, RESULT
    from ggufjac.analyses.digest import digest_of

    if not os.path.isfile(source):
        raise UserError(f"{source}: there is no such file" if not os.path.isdir(source) else f"{source}: is a folder")
    try:
        with _named(source) as name, safe_open(name, framework="pt") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:  # of whatever a file has that is no safetensors file: the library has no one error
        why = "it is the JSON of a result" if _is_json(source) else briefly(str(error))
        raise UserError(
            f"{source}: this is no safetensors file ({why}); `--save FILE` of an analysis writes one"
        ) from None
    if RESULT not in metadata:
        raise UserError(f"{source}: the file holds no ggufjac result; `--save FILE` of an analysis writes one")
    text, digest = metadata[RESULT], metadata.get(DIGEST)
    if digest is not None and digest != digest_of(text, arrays):
        raise UserError(f"{source}: the result in it is damaged (its checksum is another one); compute it again")
    try:
        plain = json.loads(text)
        schema = str(plain.get("schema"))
        kind = schema.removeprefix("ggufjac.").split("/")[0]
        if kind not in KINDS:
            raise ValueError(f"its schema is {schema!r}; this version of ggufjac does not know it")
        return KINDS[kind].result_class.from_dict(plain, arrays), digest is not None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{source}: the result in it is damaged ({briefly(str(error))})") from None


@contextmanager
def _named(source: str | Path) -> Iterator[str]:
    """A name of a file that safetensors takes: one that is no UTF-8 it reaches by a link."""
    name = os.path.abspath(source)
    if storable(name) == name:
        yield name
        return
    with tempfile.TemporaryDirectory(prefix="ggufjac-") as folder:
        link = os.path.join(folder, "result")
        os.symlink(name, link)
        yield link


def _is_json(source: str | Path) -> bool:
    """Whether the file looks like one that `--json` wrote."""
    with suppress(OSError), open(source, "rb") as opened:
        return opened.read(64).lstrip().startswith(b'{\n "schema": "ggufjac.')
    return False
