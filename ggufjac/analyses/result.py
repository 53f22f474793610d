"""What every analysis returns: plain facts and arrays that can be shown, saved and read again."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from torch import Tensor

import ggufjac
from ggufjac import atomic
from ggufjac.analyses.records import ARRAYS, from_plain, to_plain
from ggufjac.errors import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

#: The metadata key under which a safetensors file carries its result.
RESULT = "ggufjac.result"
#: Kind -> where its class lives, so that a saved file can be read without importing every analysis.
KINDS = {
    "analysis": "ggufjac.analyses.prediction.Analysis",
    "comparison": "ggufjac.analyses.comparison.Comparison",
    "ablation": "ggufjac.analyses.ablation.Ablation",
    "extremes": "ggufjac.analyses.extremes.Extremes",
    "ordinary": "ggufjac.analyses.ordinary.Ordinary",
    "attribution": "ggufjac.analyses.attribution.Attribution",
    "layers": "ggufjac.analyses.layers.Layers",
    "plan": "ggufjac.analyses.planning.Plan",
    "steering": "ggufjac.analyses.steering.Steered",
    "explanation": "ggufjac.analyses.explanation.Explanation",
}

R = TypeVar("R", bound="Result")


class Drawing(Protocol):
    """A picture of a result (ggufjac.plots.picture): name: of its file, without the ending; title: what it shows."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def _repr_png_(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one analysis: a frozen dataclass of plain values, and arrays by name.

    A subclass names its `kind` (as in KINDS), the number of its JSON schema, and the module under ggufjac.reports
    whose `report(result)` draws it. A result shows itself in a terminal (rich) and in a notebook.
    """

    kind: ClassVar[str]
    schema_version: ClassVar[int] = 1
    report: ClassVar[str]

    version: str = ggufjac.__version__
    arrays: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False, metadata={ARRAYS: True})

    @classmethod
    def schema(cls) -> str:
        """The name and number of the JSON form, as docs/json.md describes it."""
        return f"ggufjac.{cls.kind}/{cls.schema_version}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, as values that json can write; a number that is not finite is None."""
        plain: dict[str, Any] = to_plain(self)
        return {"schema": self.schema(), "version": plain.pop("version"), **plain}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)

    @classmethod
    def from_dict(cls: type[R], plain: dict[str, Any], arrays: dict[str, Tensor] | None = None) -> R:
        """The inverse of `to_dict`. Raises ValueError, KeyError or TypeError where it is not of this kind."""
        if plain.get("schema") != cls.schema():
            raise ValueError(f"it has the schema {plain.get('schema')!r}, not {cls.schema()!r}")
        return replace(from_plain(cls, plain), arrays=arrays or {})

    def save(self, target: str | Path) -> None:
        """Arrays and facts as one safetensors file, which appears whole or not at all."""
        from safetensors.torch import save_file

        contiguous = {name: array.detach().cpu().contiguous() for name, array in self.arrays.items()}
        atomic.write(target, lambda path: save_file(contiguous, path, metadata={RESULT: self.to_json()}))

    @classmethod
    def load(cls: type[R], source: str | Path) -> R:
        """What `save` wrote. Raises UserError for any other file, and for a result of another kind."""
        found = load(source)
        if not isinstance(found, cls):
            raise UserError(f"{source}: it holds a result of the kind {found.kind!r}")
        return found

    def pictures(self) -> tuple[Drawing, ...]:
        """The result as pictures, which show themselves in a notebook. Raises UserError where matplotlib is missing."""
        made: tuple[Drawing, ...] = importlib.import_module("ggufjac.plots").pictures(self)
        return made

    def plot(self, folder: str | Path, form: Literal["svg", "png"] = "svg") -> tuple[Path, ...]:
        """Write the pictures into a folder. Raises UserError where matplotlib is missing or nothing can be written."""
        written: tuple[Path, ...] = importlib.import_module("ggufjac.plots").save(self, folder, form)
        return written

    def page(self) -> str:
        """The report as one page of HTML that needs no other file."""
        made: str = importlib.import_module("ggufjac.reports.page").page(self)
        return made

    def __rich__(self) -> RenderableType:
        # reports know analyses and not the other way round: a report is found by its name
        drawn: RenderableType = importlib.import_module(f"ggufjac.reports.{self.report}").report(self)
        return drawn

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What IPython shows, in place of a dataclass's own long repr: the report, as HTML and as text."""
        text: str = importlib.import_module("ggufjac.reports.files").plain(self)
        return {"text/plain": text, "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        shown: str = importlib.import_module("ggufjac.reports.page").cell(self)
        return shown


def load(source: str | Path) -> Result:
    """The result in a file that `Result.save` wrote, of whatever kind. Raises UserError for any other file."""
    from safetensors import SafetensorError, safe_open

    if not Path(source).is_file():
        raise UserError(f"{source}: there is no such file")
    try:
        with safe_open(source, framework="pt") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{source}: this is no safetensors file ({error})") from None
    if RESULT not in metadata:
        raise UserError(f"{source}: the file holds no ggufjac result; `--save FILE` of an analysis writes one")
    try:
        plain = json.loads(metadata[RESULT])
        schema = str(plain.get("schema"))
        kind = schema.removeprefix("ggufjac.").split("/")[0]
        if kind not in KINDS:
            raise ValueError(f"its schema is {schema!r}; this version of ggufjac does not know it")
        module, _, name = KINDS[kind].rpartition(".")
        cls: type[Result] = getattr(importlib.import_module(module), name)
        return cls.from_dict(plain, arrays)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{source}: the result in it is damaged ({error})") from None
