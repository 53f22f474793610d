"""Which of many layers stay where there is no room for all: whole layers, evenly spread over the network.

What has to come anew then arrives while the layers before it compute.
"""

from __future__ import annotations

from collections.abc import Sequence


def evenly_spread(sizes: Sequence[int], room: int) -> list[bool]:
    """For every layer of so many bytes, whether it stays in `room` bytes."""
    share = min(1.0, room / max(1, sum(sizes)))
    met, kept, stay = 0, 0, []
    for size in sizes:
        met += size
        stay.append(kept + size <= share * met)
        kept += size if stay[-1] else 0
    return stay
