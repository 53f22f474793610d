"""Bytes on their way to a card and back arrive unharmed, whatever the card does first.

CUDA is played by `Cuda`: streams are queues of work that is done as late or as early as the rules allow. A rule that
the code forgot would let some order of work damage bytes; that is shown by forgetting each of them on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ggufjac.quants.memory import away, road
from ggufjac.quants.memory.away import Away
from ggufjac.quants.memory.road import CudaRoad

CUDA = torch.device("cuda")
#: Bytes of a buffer on the road, here.
BUFFER = 64
#: Whose work is done as soon as it may be; that of the others is done when somebody waits for it.
HASTY = ("nobody", "computing", "copying", "everybody")
#: What a tensor holds where nothing was written.
NOTHING = 255


@dataclass(eq=False)
class Stream:
    cuda: Cuda
    name: str
    work: list[Callable[[], bool]] = field(default_factory=list)

    def add(self, work: Callable[[], object]) -> None:
        self.work.append(lambda: work() is not False)
        self.cuda.go_on()

    def wait_event(self, event: Event) -> None:
        if f"{self.name} waits" not in self.cuda.forgotten:
            self.add(partial(event.is_over, event.recorded))

    def wait_stream(self, other: Stream) -> None:
        event = Event(self.cuda)
        event.record(other)
        self.wait_event(event)

    def step(self) -> bool:
        """Do what is next, if it may be done."""
        if self.work and self.work[0]():
            self.work.pop(0)
            return True
        return False


@dataclass(eq=False)
class Event:
    """recorded: how often it was; over: how often the work before that was done."""

    cuda: Cuda
    recorded: int = 0
    over: int = 0

    def record(self, stream: Stream | None = None) -> None:
        self.recorded += 1
        (stream or self.cuda.current).add(partial(self._reach, self.recorded))

    def _reach(self, number: int) -> None:
        self.over = number

    def is_over(self, number: int) -> bool:
        return self.over >= number

    def synchronize(self) -> None:
        if "the host waits" not in self.cuda.forgotten:
            self.cuda.finish(partial(self.is_over, self.recorded))


class Cuda(TorchFunctionMode):
    """A card whose memory is the host's. forgotten: the rules that do not hold."""

    def __init__(self, hasty: str, forgotten: str = "") -> None:
        super().__init__()
        self.hasty, self.forgotten = hasty, forgotten
        self.computing = self.current = Stream(self, "computing")
        self.streams = [self.computing]
        self.freed: list[Tensor] = []

    def stream(self, _: torch.device) -> Stream:
        self.streams.append(Stream(self, "copying"))
        return self.streams[-1]

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def go_on(self) -> None:
        hasty = [s for s in self.streams if self.hasty in (s.name, "everybody")]
        while any(stream.step() for stream in hasty):
            pass

    def finish(self, done: Callable[[], bool] = lambda: False) -> None:
        """What somebody waits for, and no more than has to be done before."""
        while not done() and any(stream.step() for stream in reversed(self.streams)):
            pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and not kwargs.pop("pin_memory", False) and kwargs.pop("device", None) is not None:
            return self.freed.pop() if self.freed else torch.full(args, NOTHING, **kwargs)
        if func is torch.empty:
            return torch.full(args if isinstance(args[0], int) else args[0], NOTHING, **kwargs)
        if func is Tensor.copy_ and kwargs.pop("non_blocking", False):
            self.current.add(partial(Tensor.copy_, *args))
            return args[0]
        return func(*args, **kwargs)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cuda]:
    def made(hasty: str, forgotten: str = "") -> Cuda:
        cuda = Cuda(hasty, forgotten)
        monkeypatch.setattr(road, "CHUNK", BUFFER)
        monkeypatch.setattr(away, "PINNED", 8)
        monkeypatch.setattr(away, "available_memory", lambda: 1 << 30)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "Stream", cuda.stream)
        monkeypatch.setattr(torch.cuda, "Event", partial(Event, cuda))
        monkeypatch.setattr(torch.cuda, "stream", cuda.on)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: cuda.current)
        return cuda

    return made


def sent(cuda: Cuda) -> bool:
    """Whether chunks arrive that stream by, two at a time as where a product is folded into another."""
    data = np.arange(10 * BUFFER, dtype=np.uint8).reshape(10, BUFFER)
    seen: list[Tensor] = []
    with cuda:
        way = CudaRoad(CUDA)
        for pair in data.reshape(5, 2, BUFFER):
            there = [way.send(part[: BUFFER - 1]) for part in pair]
            for chunk in there:
                cuda.computing.add(lambda chunk=chunk: seen.append(chunk.clone()))
                way.passed(chunk)
        cuda.finish()
    return np.array_equal(torch.stack(seen).numpy(), data[:, :-1])


def settled(cuda: Cuda) -> bool:
    """Whether bytes arrive that stay, in memory that was another's, who reads it still."""
    data, other = np.arange(9 * BUFFER, dtype=np.uint8).reshape(9, BUFFER), torch.zeros(9 * BUFFER, dtype=torch.uint8)
    seen: list[Tensor] = []
    with cuda:
        way = CudaRoad(CUDA)
        cuda.computing.add(lambda: seen.append(other.clone()))
        cuda.freed.append(other)
        there = way.settle(data)
        cuda.computing.add(lambda: seen.append(there.clone()))
        cuda.finish()
    return there is other and not seen[0].any() and np.array_equal(seen[1].numpy(), data.reshape(-1))


def left(cuda: Cuda) -> bool:
    """Whether results arrive on the host, in pieces of a few rows, each result in the memory of the one before."""
    with cuda:
        out, memory = Away((10, 4), torch.uint8, CUDA), torch.full((5, 4), NOTHING, dtype=torch.uint8)
        for i in range(2):
            cuda.computing.add(partial(Tensor.fill_, memory, i))
            out.put(5 * i, memory)
        whole = out.whole()
        cuda.finish()
    return torch.equal(whole, torch.arange(2, dtype=torch.uint8).repeat_interleave(5)[:, None].expand(10, 4))


@pytest.mark.parametrize("hasty", HASTY)
@pytest.mark.parametrize("journey", [sent, settled, left])
def test_bytes_arrive(play: Callable[..., Cuda], journey: Callable[[Cuda], bool], hasty: str) -> None:
    assert journey(play(hasty))


@pytest.mark.parametrize(
    ("journey", "forgotten"),
    [
        (sent, "the host waits"),
        (sent, "copying waits"),
        (sent, "computing waits"),
        (settled, "the host waits"),
        (settled, "copying waits"),
        (settled, "computing waits"),
        (left, "the host waits"),
    ],
)
def test_every_rule_is_needed(play: Callable[..., Cuda], journey: Callable[[Cuda], bool], forgotten: str) -> None:
    assert not all(journey(play(hasty, forgotten)) for hasty in HASTY)
