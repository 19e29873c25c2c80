"""Inner environments on a Ray cluster, with whole episodes run next to them.

A *host* is a Ray actor with one worker process under it (`ProcessWorkers`); each node has one for each CPU. So
everything that holds for worker processes holds on a node: an environment may block, print, leak, crash or hang, and
only the episode that took its process down is to blame. A request (one episode) runs completely on the host of its
environment: its model calls leave from that node, and one message brings the result back to the driver. Stepping from
the driver would send each turn over the network twice, and leave all model calls to its event loop, which saturates.

If a host or a node is lost, its episodes fail with WorkerLostError, and the engine plays them again on another host.
No episode is blamed for a lost node; the engine's limit on losses ends an episode that loses nodes again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import pickle
import sys
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from metagym.errors import ConfigError
from metagym.imports import require
from metagym.workers.process import DEFAULT_LIMITS, ProcessWorkers
from metagym.workers.protocol import MakeEnv, ProcessLimits, RemoteRunner, WorkerLostError

logger = logging.getLogger(__name__)

MAX_RUNNERS = 4
"""Runners (an actor with its connections) that a host keeps; each run of an engine sends one."""
_MAX_CALLS = 100_000  # a host limits nothing: the engine's max_concurrency does


class RayWorkers:
    """Hosts on the Ray cluster that `ray.init` or RAY_ADDRESS names, else on one that is started here.

    Ray's pickler sends `make_env` and the runners, and takes functions of a script, too; metagym and the
    environment's packages must be installed on the nodes. `num_hosts` is the number of hosts in all, by default one
    for each CPU. A Ray that was started here ends with this process.
    """

    def __init__(self, make_env: MakeEnv, num_hosts: int | None = None, limits: ProcessLimits = DEFAULT_LIMITS) -> None:
        if num_hosts is not None and num_hosts < 1:
            raise ConfigError(f"Expected num_hosts >= 1, got {num_hosts}.")
        ray = require("ray", extra="ray")
        if not ray.is_initialized():
            # Here and not at the first lease: Ray's processes end with the *thread* that started them, and a thread
            # of a pool ends before Ray can shut down.
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        self._factory = _pickled(make_env, "function that makes an environment")
        self._num_hosts, self._limits = num_hosts, limits
        self._hosts: list[_Host] = []
        self._sent: weakref.WeakKeyDictionary[RemoteRunner, Any] = weakref.WeakKeyDictionary()

    @contextlib.asynccontextmanager
    async def lease_host(self) -> AsyncIterator[RayHostLease]:
        """Lease the host with the fewest leases."""
        self._num_hosts = self._num_hosts or sum(_cpus_of_nodes().values())
        host = self._least_busy(self._num_hosts)
        host.num_leases += 1
        try:
            yield RayHostLease(self, host)
        finally:
            host.num_leases -= 1

    def close(self) -> None:
        """End the hosts. Calling it twice is fine."""
        for host in self._hosts:
            host.kill()
        self._hosts = []
        self._sent.clear()

    def send(self, runner: RemoteRunner) -> Any:
        """Put the runner into Ray's object store, from which all nodes can read it, and return the reference."""
        import ray

        if runner not in self._sent:
            self._sent[runner] = ray.put(_pickled(runner, "actor"))
        return self._sent[runner]

    def _least_busy(self, num_hosts: int) -> _Host:
        self._hosts = [host for host in self._hosts if not host.is_lost]
        host = min(self._hosts, key=lambda host: host.num_leases, default=None)
        if host is None or (host.num_leases > 0 and len(self._hosts) < num_hosts):
            cpus, taken = _cpus_of_nodes(), Counter(host.node for host in self._hosts)
            freest = min(cpus, key=lambda node: taken[node] / cpus[node])
            host = _Host(freest, self._factory, self._limits)
            self._hosts.append(host)
        return host


class RayHostLease:
    """The right to run one request on a host."""

    def __init__(self, workers: RayWorkers, host: _Host) -> None:
        self._workers, self._host = workers, host
        self._number = next(host.numbers)

    async def run(self, runner: RemoteRunner, request: Any) -> Any:
        """Run `request` on the host with `runner`, and return the result, or raise the runner's error."""
        from ray.exceptions import RayError, RayTaskError

        try:
            return pickle.loads(await self._host.actor.run.remote(self._number, self._workers.send(runner), request))
        except RayTaskError as error:
            raise error.cause from error  # the runner could not be unpickled there, or is broken
        except RayError as error:
            self._host.kill()
            reason = str(error).strip().partition("\n")[0]
            logger.warning("A Ray host was lost: %s: %s", type(error).__name__, reason)
            lost = WorkerLostError(
                f"The Ray host that played the episode was lost: {type(error).__name__}: {reason} "
                "Its episodes are played again on another host."
            )
            lost.is_culprit = False  # an environment that kills its process leaves the host alive
            raise lost from error

    async def cancel(self) -> None:
        """Cancel the running request."""
        await self._host.actor.cancel.remote(self._number)


class _Host:
    def __init__(self, node: str, factory: bytes, limits: ProcessLimits) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.node, self.num_leases, self.is_lost = node, 0, False
        self.numbers = itertools.count()
        # It reserves no CPU, so that two meta-environments on one cluster never wait for each other's hosts.
        self.actor = (
            ray.remote(_HostActor)
            .options(
                num_cpus=0,
                max_concurrency=_MAX_CALLS,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
            )
            .remote(factory, limits, sys.path)
        )

    def kill(self) -> None:
        """End the actor, and with it its worker process."""
        import ray

        if not self.is_lost and ray.is_initialized():
            ray.kill(self.actor)
        self.is_lost = True


class _HostActor:
    """The Ray actor itself, on a node."""

    def __init__(self, factory: bytes, limits: ProcessLimits, path: list[str]) -> None:
        # As multiprocessing does: modules that the driver imports from a shared folder can be imported here, too.
        sys.path += [place for place in path if place not in sys.path]
        self._workers = ProcessWorkers(functools.partial(_make_env, factory), 1, limits)
        self._runners: dict[bytes, RemoteRunner] = {}
        self._running: dict[int, asyncio.Task[Any]] = {}

    async def run(self, number: int, runner: bytes, request: Any) -> bytes:
        """Run a request, and return the result pickled here: then it is sure that it can be sent."""
        running = self._running[number] = asyncio.ensure_future(self._run(runner, request))
        try:
            return pickle.dumps(await running)
        finally:
            del self._running[number]

    async def cancel(self, number: int) -> None:
        """Cancel a request; its runner may still return a result."""
        if number in self._running:
            self._running[number].cancel()

    async def _run(self, pickled: bytes, request: Any) -> Any:
        if pickled not in self._runners:
            self._runners[pickled] = pickle.loads(pickled)
            if len(self._runners) > MAX_RUNNERS:
                await self._runners.pop(next(iter(self._runners))).aclose()
        return await self._runners[pickled](request, self._workers)


def _make_env(factory: bytes) -> Any:
    return pickle.loads(factory)()


def _pickled(value: object, what: str) -> bytes:
    from ray import cloudpickle

    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:
        raise ConfigError(f"workers='ray' needs a picklable {what}, got {value!r:.200}: {error}") from error


def _cpus_of_nodes() -> dict[str, int]:
    import ray

    found = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]}
    cpus = {node: count for node, count in found.items() if count > 0}
    if not cpus:
        raise ConfigError("workers='ray' needs a Ray node with a CPU, got no node that is alive. Look at: ray status")
    return cpus
