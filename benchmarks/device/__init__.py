"""What a GPU does: whether its numbers are the CPU kernels', how fast its products are, what models cost there.

    python -m benchmarks device                             # every phase that fits; writes device.json
    python -m benchmarks device --quick                     # build, values of a few types, products, a small model
    python -m benchmarks device --8b --limit 300            # one model alone, five minutes a phase
    python -m benchmarks device --real FILE                 # a model of your own, at eight token ids
    python -m benchmarks device --only trial                # candidates that nothing uses yet, 100 seconds
    python -m benchmarks device --quick --device cpu        # the check itself, where there is no GPU
    python -m benchmarks results device --from device.json  # the section "device" of RESULTS.md

Phases run one after the other, each within its own time; one that fails is told and the next one begins: build, values,
products, smollm, 1b, 8b, 70b, real; and trial where it is named. --only and --skip name them.

A bare machine needs Python with torch, numpy, scipy, safetensors and rich, a C++ compiler, cmake and nanobind, and no
network: the compiled extension is built in place. llama.cpp is not needed. What is missing there, gguf for example,
travels as wheels, fetched where there is a network:

    python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 -d .whl gguf==0.19.0

and installed on the bare machine, before the check:

    python3 -m pip install -q --no-index --no-deps --target /tmp/site .whl/*.whl
    PYTHONPATH=/tmp/site python3 -m benchmarks device --quick

Models are random weights in the shapes of real ones, made in memory. Times are medians after a warm-up; those of
single kernels are of replayed CUDA graphs over weights that the card's cache does not hold. Aims are for an H100, with
24 GiB of it where nothing else is said.
"""

from __future__ import annotations


def main() -> int:
    import sys

    from benchmarks.device.arguments import parsed
    from benchmarks.device.run import run

    return run(parsed(sys.argv[1:]))
