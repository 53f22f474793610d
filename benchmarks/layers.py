"""The cumulative maps of all layers of SmolLM2 at once, beside one run per layer.

The baseline is one adjoint sweep of d columns through the layers below for every layer, and the singular values of the
matrix that comes out. It is measured at three layers; their time is linear in the layers below, so the sum over all of
them follows. Block Krylov with sweeps of a few columns, layer by layer, stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.table import Table
from benchmarks.timing import timed
from ggufjac.maps.linear import LinearMap
from ggufjac.maps.model import Model
from ggufjac.maps.within.layers import LayerMaps
from ggufjac.registry import resolve

PROMPT = "The bridge out of Marin is the"
TOP, TOLERANCE = 6, 1e-2
#: Layers at which the baselines are measured.
MEASURED = (4, 14, 29)
HEADINGS = ("7 tokens, float32", "s", "at layers " + ", ".join(map(str, MEASURED)), "ratio")


def rows() -> Iterator[list[str]]:
    with Model.open(resolve("smollm2-135m")) as model, torch.no_grad():
        linear = model.linearize(PROMPT)
        maps = LayerMaps(model.family, linear)
        layers = range(maps.n_layer)

        def layer_by_layer(work: Callable[[LinearMap], object]) -> tuple[float, str]:
            """The time for all layers, from those that are measured, and these."""
            seconds = []
            for layer in MEASURED:
                seconds.append(timed(lambda: work(maps.cumulative(layer)), 1)[0])  # noqa: B023
            slope, start = np.polyfit([layer + 1 for layer in MEASURED], seconds, 1)
            total = sum(max(0.0, start + slope * (layer + 1)) for layer in layers)
            return total, ", ".join(f"{s:.2f}" for s in seconds)

        baseline, shown = layer_by_layer(lambda one: torch.linalg.eigvalsh(_gram(one.jacobian())))
        yield ["one adjoint run and its spectrum per layer", f"{baseline:.1f}", shown, "1.0x"]
        krylov, shown = layer_by_layer(lambda one: one.svd(TOP, method="sweeps", tolerance=TOLERANCE))
        yield [f"block Krylov per layer, top {TOP}", f"{krylov:.1f}", shown, f"{baseline / krylov:.1f}x"]
        every = maps.places(layers, ["layer"])
        best, _ = timed(lambda: maps.spectra(every, TOP, tolerance=TOLERANCE), 3)
        yield [f"all layers at once, top {TOP}", f"{best:.1f}", "", f"{baseline / best:.1f}x"]
        parts = maps.places(layers, ["layer", "attn", "mlp"])
        best, _ = timed(lambda: maps.spectra(parts, TOP, tolerance=TOLERANCE), 1)
        # three maps a layer, for each of which the baseline would run once
        yield [f"all layers, attn and mlp writes at once, top {TOP}", f"{best:.1f}", "", f"{3 * baseline / best:.1f}x"]
        best, _ = timed(lambda: maps.layerwise_spectra(every, TOP, tolerance=TOLERANCE), 1)
        yield [f"the layers' own maps, top {TOP}", f"{best:.1f}", "", ""]
        functional = linear.logit_functional(0)[0][None]
        best, _ = timed(lambda: maps.direct(functional), 3)
        yield ["direct contributions of all blocks", f"{best:.2f}", "", ""]


def _gram(jacobian: Tensor) -> Tensor:
    flat = jacobian.flatten(1)
    return flat @ flat.T


def table() -> Table:
    return Table(HEADINGS, rows(), f'SmolLM2, 30 layers, "{PROMPT}", {torch.get_num_threads()} threads.')


def main() -> None:
    table().print()
