"""The texts of a lens's fit computed by dask.distributed, in their order.

A worker computes the matrices of one text, and they travel to the process that writes, which adds them up in the order
of the corpus: what is on the disk is always the mean of its first texts. A text has a matrix for every block, in all
n_layer d^2 numbers (40 MB for a model of 135M weights, 2 GB for one of 8B). So a worker has those of one text at most:
it begins the next one once they were fetched.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ggufjac.analyses.lens.fit import Jacobians, text_jacobians
from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.batch.compute import Session
from ggufjac.batch.units import BatchModel, Resources
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.reader.fingerprint import fingerprint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    #: Matrices by block. Arrays, because these travel without being copied once more.
    Matrices = dict[int, NDArray[np.floating]]


@dataclass(frozen=True)
class TextUnit:
    """One text of a fit. number: among those that are computed."""

    number: int
    text: tuple[int, ...]
    model: BatchModel
    options: LensFitOptions

    @property
    def key(self) -> str:
        return f"text-{self.number}"


def fitted_by(cluster: str, model: Model, options: LensFitOptions) -> Jacobians:
    """What computes texts on a cluster, in the words of `ggufjac.batch.distributed.computed`.

    Raises UserError where dask is not installed.
    """
    from ggufjac.batch.distributed import computed

    path = model.file.path
    source = BatchModel(path.name, str(path.absolute()), fingerprint(model.file))
    resources = Resources(options.memory, options.device, options.threads)

    def jacobians(texts: Sequence[tuple[int, ...]]) -> Generator[dict[int, Tensor], None, None]:
        units = [TextUnit(number, text, source, options) for number, text in enumerate(texts)]
        for unit, outcome in computed(units, resources, cluster, text_matrices, in_order=True):
            found = outcome.result
            if found is None:
                if outcome.fault is not None:
                    raise RuntimeError(f"text {unit.number + 1} of those that were left:\n{outcome.fault}")
                raise UserError(outcome.error)
            # a copy, block by block: what has travelled may not be written
            yield {layer: torch.tensor(found.pop(layer)) for layer in list(found)}

    return jacobians


def text_matrices(session: Session, unit: TextUnit, resources: Resources) -> Matrices:
    """What a worker does with a text."""
    options = replace(unit.options, memory=resources.memory, device=resources.device, threads=resources.threads)
    found = text_jacobians(session.model, unit.text, options)
    # a view would take all of its storage along
    return {layer: j.detach().cpu().contiguous().clone().numpy() for layer, j in found.items()}
