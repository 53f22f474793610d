"""Pieces of work computed by dask.distributed: by worker processes on this machine, or by a cluster that runs already.

A worker holds the models that it has met open, each once per process; the results travel back to this process, which
alone writes. So a unit that is computed twice, because its worker died after the first time, is recorded once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeAlias

import torch

try:
    from distributed import (
        Client,
        Future,
        KilledWorker,
        LocalCluster,
        Worker,
        WorkerPlugin,
        as_completed,
        get_worker,
        wait,
    )
except ModuleNotFoundError as error:
    from ggufjac.errors import UserError

    raise UserError(f"--cluster needs dask.distributed ({error}); install it with: pip install distributed") from None

from ggufjac.analyses.common.result import Result
from ggufjac.batch.compute import Given, Got, Session, Sessions, UnitOutcome
from ggufjac.batch.units import Resources
from ggufjac.errors import UserError
from ggufjac.quants.memory.devices import default_budget, device_called
from ggufjac.version import __version__

#: What a worker makes of a unit on an open model. It travels by its name.
Compute: TypeAlias = Callable[[Session, Given, Resources], Got]

#: How a cluster of this machine's own begins.
LOCAL = "local:"
#: Seconds to wait for a scheduler to answer and for its first worker.
PATIENCE = 30.0
#: Units handed out per worker thread: one that is computed and one that waits behind it.
AHEAD = 2


class ModelsPlugin(WorkerPlugin):  # type: ignore[misc]
    """What a worker process keeps between units: the open models, for one thread at a time. ours: whether the process
    was started for this batch.
    """

    def __init__(self, resources: Resources, ours: bool) -> None:
        self._resources = resources
        self._ours = ours

    def setup(self, worker: Worker) -> None:
        if self._ours:  # a terminal sends Ctrl-C to all processes; this one's parent closes it in good order
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._resources.threads is not None:
            torch.set_num_threads(self._resources.threads)
        self._over = False
        self._lock = threading.Lock()
        self._sessions = Sessions(self._resources)

    def teardown(self, worker: Worker) -> None:
        self._over = True
        # while a unit is computed its thread has the models; waiting for it would keep the worker from closing
        if self._lock.acquire(blocking=False):
            try:
                self._sessions.close()
            finally:
                self._lock.release()

    def attempt(self, unit: Given, compute: Compute[Given, Got]) -> UnitOutcome[Got]:
        with self._lock:
            try:
                outcome = self._sessions.attempt(unit, compute)
            finally:
                if self._over:
                    self._sessions.close()
        if not isinstance(outcome.result, Result):
            return outcome
        # pickled, a view would take all of its storage along
        arrays = {name: array.detach().clone() for name, array in outcome.result.arrays.items()}
        return replace(outcome, result=replace(outcome.result, arrays=arrays))


def computed(
    units: Sequence[Given],
    resources: Resources,
    cluster: str,
    compute: Compute[Given, Got],
    *,
    in_order: bool = False,
) -> Iterator[tuple[Given, UnitOutcome[Got]]]:
    """The outcomes of the units, in the order in which they come. cluster: "local:N" for N worker processes here, which
    share this machine's memory and processors, or the address of a scheduler ("tcp://host:8786").

    in_order: as the units are; then as many of them are handed out as are computed at once, and a worker keeps what
    came of one until it is its turn.

    Raises UserError where there is no such cluster, or its workers have no ggufjac of this version.
    """
    with ExitStack() as opened:
        client, resources = _client(cluster, resources, opened)
        threads = _require_workers(client)
        name = f"ggufjac-{uuid.uuid4()}"
        client.register_plugin(ModelsPlugin(resources, cluster.startswith(LOCAL)), name=name)
        opened.callback(client.unregister_worker_plugin, name)
        rest = iter(units)
        running: dict[Future, Given] = {}
        opened.callback(lambda: client.cancel(list(running)))
        completed = None if in_order else as_completed()

        def hand_out() -> None:
            for unit in rest:
                future = client.submit(_attempt, unit, compute, name, key=f"{name}-{unit.key}", pure=False)
                running[future] = unit
                if completed is not None:
                    completed.add(future)
                return

        for _ in range((1 if in_order else AHEAD) * threads):
            hand_out()
        for future in _in_turn(running) if completed is None else completed:
            unit = running.pop(future)
            if in_order:
                outcome = _outcome(future)
                future.release()
                hand_out()
            else:
                hand_out()
                outcome = _outcome(future)
                future.release()
            yield unit, outcome


def _in_turn(running: Mapping[Future, object]) -> Iterator[Future]:
    """The futures one after the other, each once it is done, until there is none."""
    while running:
        first = next(iter(running))
        wait([first])
        yield first


def _attempt(unit: Given, compute: Compute[Given, Got], name: str) -> UnitOutcome[Got]:
    """What a worker does."""
    plugin = get_worker().plugins.get(name)
    if plugin is None:  # it is being closed, and nobody waits for this any more
        return UnitOutcome(None, "the worker process was closed", 0.0)
    outcome: UnitOutcome[Got] = plugin.attempt(unit, compute)
    return outcome


def _outcome(future: Future) -> UnitOutcome[Any]:
    if future.status == "finished":
        outcome: UnitOutcome[Any] = future.result()
        return outcome
    if future.status != "error":
        raise UserError("the connection to the cluster was lost; the same command goes on where this one stopped")
    error = future.exception()
    if isinstance(error, KilledWorker):
        return UnitOutcome(None, "the worker processes that computed this died; they may lack memory (--memory)", 0.0)
    return UnitOutcome.of_fault(error.with_traceback(future.traceback()), 0.0)


def _client(cluster: str, resources: Resources, opened: ExitStack) -> tuple[Client, Resources]:
    """A client, and what each worker may use."""
    number = cluster.removeprefix(LOCAL)
    if number != cluster and number.isdigit() and int(number) > 0:
        n = int(number)
        here = opened.enter_context(
            # the workers keep to a budget of their own; dask would count the mapped model as their memory
            LocalCluster(
                n_workers=n,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                dashboard_address=None,
                silence_logs=logging.ERROR,
            )
        )
        memory = resources.memory or default_budget(device_called(resources.device)) // n
        threads = resources.threads or max(1, torch.get_num_threads() // n)
        return opened.enter_context(Client(here)), replace(resources, memory=memory, threads=threads)
    if "://" not in cluster:
        raise UserError(f"--cluster {cluster!r}: write local:N for N processes here, or a scheduler's tcp://HOST:PORT")
    try:
        return opened.enter_context(Client(cluster, timeout=PATIENCE)), resources
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise UserError(f"--cluster {cluster}: no scheduler answers there ({error})") from None


def _require_workers(client: Client) -> int:
    """How many units can be computed at once. Raises UserError where no worker can compute any."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
        versions = client.run(_version)
    except (TimeoutError, asyncio.TimeoutError):
        raise UserError(f"the cluster has no worker after {PATIENCE:.0f} s; start some with `dask worker`") from None
    except ModuleNotFoundError as error:
        raise UserError(f"a worker of the cluster has no ggufjac ({error}); install it there") from None
    for address, version in versions.items():
        if version != __version__:
            raise UserError(
                f"the worker {address} has ggufjac {version}, and this is {__version__}; they must be the same"
            )
    return sum(client.nthreads().values())


def _version() -> str:
    return __version__
