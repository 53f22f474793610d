"""Patching: how well one backward sweep foretells what patched runs say (benchmarks.patch.correlations).

python -m benchmarks patch --models smollm2-135m
"""

from __future__ import annotations

from benchmarks.patch import correlations


def main() -> int:
    return correlations.main()
