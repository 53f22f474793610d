"""What a reader should know of llama.cpp's own run where a map explains it instead of exact arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from ggufjac.llamacpp.library import supported_version
from ggufjac.maps import sweeps
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.text import TextMap
from ggufjac.network.followed.run import FollowedRun, Remainder


@dataclass(frozen=True)
class Followed:
    """llama.cpp's run of the prompt, and how closely it is followed.

    version: which llama.cpp; threads, cache, repack: how it was run. remainders: of every layer the step before which
    our value was the furthest from llama.cpp's; layer -1 is what follows the last one. logits: the largest difference
    between the map's logits and llama.cpp's, over their spread; same_first: whether the first token is the same.
    seconds: of its evaluation, of which `copying` went into copying `copied` bytes.
    """

    version: str
    threads: int
    cache: str
    repack: bool
    remainders: tuple[Remainder, ...]
    logits: float
    same_first: bool
    seconds: float
    copying: float
    copied: int

    @property
    def worst(self) -> Remainder:
        """The step with the largest remainder of all."""
        return max(self.remainders, key=lambda r: r.relative)


def followed_of(linear: DetachedMap | TextMap) -> Followed | None:
    """The run that maps follow; None for maps of exact arithmetic. Of maps at several positions, the worst one."""
    run = linear.forward_pass.run
    if not isinstance(run, FollowedRun):
        return None
    # the pass's own operators: those of the map may compute in a coarser precision
    y = sweeps.forward((*linear.forward_pass.layers, linear.forward_pass.final), linear.inputs[None], 1.0)
    ours = linear.head.apply(y, 1.0)[0].cpu()
    theirs = linear.logits.view_as(ours)
    worst: dict[int, Remainder] = {}
    for found in run.remainders.values():
        if found.layer not in worst or worst[found.layer].relative < found.relative:
            worst[found.layer] = found
    return Followed(
        version=supported_version(),
        threads=run.settings.threads or 0,
        cache=run.settings.cache,
        repack=run.settings.repack,
        remainders=tuple(worst[layer] for layer in sorted(worst)),
        logits=float(((ours - theirs).abs().amax(-1) / theirs.std(-1)).max()),
        same_first=bool((ours.argmax(-1) == theirs.argmax(-1)).all()),
        seconds=run.recording.seconds,
        copying=run.recording.copying,
        copied=run.recording.copied,
    )
