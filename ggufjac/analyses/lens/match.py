"""Whether a lens is one of this model: its shapes, and what its latest matrix does beside the model's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ggufjac.analyses.lens.options import RULES, SKIP
from ggufjac.errors import UserError
from ggufjac.maps.lens.files import load_lens
from ggufjac.maps.lens.lens import Lens
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.readable import storable
from ggufjac.reader.fingerprint import fingerprint
from ggufjac.registry.lenses import lens_path

#: The text on which a lens is tried, and how many of its tokens.
TRIAL = (
    "The old harbour lies below the town, where the river meets the sea. In summer the boats bring fish and visitors "
    "from the islands, and in the evening people walk along the wall and talk about the weather, the price of bread "
    "and what their children will do when the school is over."
)
LONGEST = 48
#: The fewest positions on which a lens is tried.
POSITIONS = 4
#: What `fits` asks of the cosine, half way between right and wrong pairs. Measured: 0.71 to 0.98 for lenses of four
#: texts on their own model (four tiny families, `ordinary` and `detached`), at most 0.05 for those of a model that
#: differs in its weights alone. SmolLM2 with one of three texts: 0.94 at its latest block, 0.71 to 0.90 at nine earlier
#: ones; -0.01 in a permuted basis, 0.09 with another block's matrix. With the identity left in, wrong ones reach 0.90.
ALIKE = 0.3


@dataclass(frozen=True)
class LensFacts:
    """What a result says of a lens. file: its name; model, rules, corpus: what the file says of its fit, "" where it
    says nothing; n_prompts: how many texts it is the mean of; layers: the blocks that it has matrices of. own: whether
    it was fitted on this very file; fit: where it was not, the cosine of what its latest matrix adds to this model's
    states with what the model itself adds."""

    file: str
    model: str
    rules: str
    corpus: str
    n_prompts: int
    layers: tuple[int, ...]
    own: bool
    fit: float | None


def opened_lens(
    name: str | Path, model: Model | None = None, options: MapOptions | None = None
) -> tuple[Lens, LensFacts]:
    """The lens in a file, or a pulled one (lens:NAME), once it is known to fit the model (None: whatever it fits).

    Raises UserError where there is none, and where it does not fit.
    """
    path = lens_path(name)
    lens = load_lens(path)
    said = lens.origin.fingerprint  # where there is none, no file needs to be hashed
    own = model is not None and bool(said) and said == fingerprint(model.file)
    fit: float | None = None
    if model is not None:
        try:
            require_shape(lens, model)
            fit = None if own else fits(lens, model, options)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
    return lens, facts_of_lens(lens, path, own, fit)


def facts_of_lens(lens: Lens, path: str | Path, own: bool = False, fit: float | None = None) -> LensFacts:
    o = lens.origin
    return LensFacts(storable(Path(path).name), o.model, o.rules, o.corpus, lens.n_prompts, lens.layers, own, fit)


def require_shape(lens: Lens, model: Model) -> None:
    """Raise UserError where a lens has not the widths and the blocks of a model."""
    family, last = model.family, model.family.n_layer - 1
    told = f"{model.file.path.name} has {family.n_layer} blocks of width {family.d}"
    if lens.d_model != family.leaving:
        raise UserError(f"this is a lens of streams of width {lens.d_model}; {told}")
    # a fit by ggufjac may be of some blocks alone; others have all but the last
    if lens.layers[-1] >= last or (not lens.origin.architecture and lens.layers[-1] < last - 1):
        raise UserError(f"this is a lens of a model with {lens.layers[-1] + 2} blocks; {told}")


def agreement(lens: Lens, model: Model, options: MapOptions | None = None) -> float:
    """How alike what the latest matrix of a lens adds to the states of a short text is to what the text's own mean
    Jacobian adds: the cosine of (J_l - 1) h with (J - 1) h, over the text's positions. It costs one forward sweep
    above block l. Both are near the identity in late blocks, which is why that is taken off.
    """
    layer = lens.layers[-1]
    ids = model.ids_of(model.tokenize(TRIAL)[: min(LONGEST, model.family.n_ctx_train)])
    skip = min(lens.origin.skip if lens.origin.architecture else SKIP, max(0, len(ids) - POSITIONS))
    chosen = MapOptions(
        rules=lens.origin.rules or RULES,
        device="cpu" if options is None else options.device,
        memory=None if options is None else options.memory,
    )
    with torch.no_grad():
        streams = model.linearize_streams(ids, chosen, skip)
        h = {layer: streams.stream(layer)}
        own, theirs = streams.transported(h)[layer], lens.transported(h)[layer]
    return _cosine(_added(theirs, h[layer]), _added(own, h[layer]))


def fits(lens: Lens, model: Model, options: MapOptions | None = None) -> float:
    """How well a lens fits a model, as `agreement` says. Raises UserError where it is a lens of another one."""
    require_shape(lens, model)
    found = agreement(lens, model, options)
    if not found >= ALIKE:
        raise UserError(
            f"this is no lens of {model.file.path.name}: what its latest matrix adds to the model's states has a "
            f"cosine of {found:.2f} with what the model adds itself; of one that fits it is {ALIKE} or more"
        )
    return found


def _added(y: Tensor, h: Tensor) -> Tensor:
    return y - h if y.shape == h.shape else y


def _cosine(a: Tensor, b: Tensor) -> float:
    one, other = a.double().flatten(), b.double().flatten()
    return float(one @ other / (one.norm() * other.norm()).clamp_min(torch.finfo(torch.float64).tiny))
