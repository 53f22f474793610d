"""The trial from its first row to its last, within its own time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec

import torch

from benchmarks.device.check import Check, Clock
from benchmarks.device.rows import Row
from benchmarks.device.trial import staging
from benchmarks.device.trial.tried import PHASE

#: Seconds for everything, of them those that wide products may take, and those that stay for copies at the end.
SECONDS, WIDE, STAGING = 100.0, 25.0, 12.0
#: Programs in a wave where Triton's interpreter runs them one after the other.
INTERPRETED = 4


def rows(check: Check) -> Iterator[Row]:
    clock = Clock(min(SECONDS, check.clock.left))
    gpu = check.card.device.type == "cuda"
    if find_spec("triton") is None or not (gpu or os.environ.get("TRITON_INTERPRET") == "1"):
        yield Row(PHASE, "products", note="not tried: the kernels need a GPU, or Triton with TRITON_INTERPRET=1")
    else:
        yield from _products(check, clock, gpu=gpu)
    yield from staging.rows(check, Clock(clock.left))


def _products(check: Check, clock: Clock, *, gpu: bool) -> Iterator[Row]:
    from benchmarks.device.trial import wide
    from benchmarks.device.trial.compiling import Compilers
    from benchmarks.device.trial.narrow import Narrow

    capability, processors = 0, INTERPRETED
    if gpu:
        about = torch.cuda.get_device_properties(check.card.device)
        capability, processors = 10 * about.major + about.minor, about.multi_processor_count
    before = Compilers(capability, check.settings.scale.shapes[0]) if gpu else None
    with before or nullcontext() as compilers:
        yield from wide.rows(check, Clock(min(WIDE, clock.left)))
        narrow = Narrow(check, processors, hopper=capability // 10 == 9, clock=Clock(clock.left - STAGING))
        yield from narrow.rows(compilers)
