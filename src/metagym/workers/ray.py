"""Inner environments on a Ray cluster, and the episodes with them.

A *host* is a Ray actor with one worker process under it (`ProcessWorkers`), so that all that holds for worker
processes holds on a node: an environment may block, print, leak, crash or hang, and exactly the episode that
took its process down is to blame. There is a host for each CPU of each node. An episode is played whole where
its environment lives: the player comes to the host, its model calls leave from the node, and one message
brings the record home. Stepping the environments from the driver instead would send each turn over the
network twice, and leave all model calls to the driver's one event loop, which is what saturates first.

A host or a node that is lost fails its episodes with WorkerLostError, and the engine plays them again on another
one. No episode is blamed for a lost node; the engine's bound on losses ends what goes on for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import itertools
import logging
import pickle
import sys
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from metagym.errors import ConfigError, MissingExtraError
from metagym.workers.hosting import MakeEnv, Player, WorkerLostError
from metagym.workers.process import ProcessWorkers

logger = logging.getLogger(__name__)

MAX_PLAYERS = 4
"""Players (an actor with its connections) that a host keeps; each run of an engine sends one."""
_MAX_CALLS = 100_000  # a host bounds nothing: the engine's max_concurrency does


class RayWorkers:
    """Hosts on the Ray cluster that `ray.init` or RAY_ADDRESS names, else on one that is started here.

    `make_env` and the player are sent by Ray's pickler, which takes functions of a script, too; metagym and
    the environment's packages must be installed on the nodes. With `num_hosts` there are so many in all, else one
    for each CPU. A Ray that was started here ends with this process.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: `make_env` cannot be pickled, or a number is out of its range.
    """

    def __init__(self, make_env: MakeEnv, *, num_hosts: int | None = None, step_timeout_s: float = 300.0) -> None:
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError("workers='ray' needs Ray, which is not installed: pip install 'metagym[ray]'")
        if (num_hosts is not None and num_hosts < 1) or step_timeout_s <= 0:
            raise ConfigError(f"Expected num_hosts >= 1 and step_timeout_s > 0, got {num_hosts} and {step_timeout_s}.")
        import ray

        if not ray.is_initialized():
            # Here and not at the first lease: Ray's processes end with the *thread* that started them, and one
            # of a pool ends before Ray can take its leave.
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        self._factory = _pickled(make_env, "function that makes an environment")
        self._num_hosts, self._step_timeout_s = num_hosts, step_timeout_s
        self._hosts: list[_Host | None] = []
        self._sent: weakref.WeakKeyDictionary[Player, Any] = weakref.WeakKeyDictionary()

    @contextlib.asynccontextmanager
    async def seat(self) -> AsyncIterator[RaySeat]:
        """Lease a seat at the host with the fewest leases."""
        if not self._hosts:
            self._hosts = [None] * (self._num_hosts or sum(_cpus_of_nodes().values()))
        host = self._least_busy()
        host.num_leases += 1
        try:
            yield RaySeat(self, host)
        finally:
            host.num_leases -= 1

    def close(self) -> None:
        """End the hosts. Twice is fine."""
        for host in self._hosts:
            if host is not None:
                host.kill()
        self._hosts = []
        self._sent.clear()

    def send(self, player: Player) -> Any:
        """Put the player where all nodes can take it from, and return the reference."""
        import ray

        if player not in self._sent:
            self._sent[player] = ray.put(_pickled(player, "actor"))
        return self._sent[player]

    def _least_busy(self) -> _Host:
        def load(index: int) -> int:
            host = self._hosts[index]
            return 0 if host is None or host.is_lost else host.num_leases

        index = min(range(len(self._hosts)), key=load)
        host = self._hosts[index]
        if host is None or host.is_lost:
            host = self._hosts[index] = _Host(self._freest_node(), self._factory, self._step_timeout_s)
        return host

    def _freest_node(self) -> str:
        """Return the node with the fewest of these hosts for its CPUs."""
        taken = Counter(host.node for host in self._hosts if host is not None and not host.is_lost)
        cpus = _cpus_of_nodes()
        return min(cpus, key=lambda node: taken[node] / cpus[node])


class RaySeat:
    """A place for one episode at a host."""

    def __init__(self, workers: RayWorkers, host: _Host) -> None:
        self._workers, self._host = workers, host
        self._number = next(host.numbers)

    async def play(self, player: Player, item: Any) -> Any:
        """Have `player` play `item` at the host, and return its answer.

        Raises:
            WorkerLostError: the host or its node was lost.
            Exception: what the player itself raised.
        """
        from ray.exceptions import RayError, RayTaskError

        try:
            return pickle.loads(await self._host.actor.play.remote(self._number, self._workers.send(player), item))
        except RayTaskError as error:
            raise error.cause from error  # the player could not be unpickled there, or is broken
        except RayError as error:
            self._host.kill()
            told = str(error).strip().splitlines()[0] if str(error).strip() else ""
            logger.warning("A Ray host was lost: %s: %s", type(error).__name__, told)
            lost = WorkerLostError(
                f"The Ray host that played the episode was lost: {type(error).__name__}: {told} "
                "Its episodes are played again on another."
            )
            lost.is_culprit = False  # an environment that kills its process leaves the host alive
            raise lost from error

    async def stop(self) -> None:
        """Cancel what is being played here."""
        await self._host.actor.stop.remote(self._number)


class _Host:
    """One Ray actor, as the driver sees it."""

    def __init__(self, node: str, factory: bytes, step_timeout_s: float) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.node, self.num_leases, self.is_lost = node, 0, False
        self.numbers = itertools.count()
        # It reserves no CPU, so that two meta-environments on one cluster never wait for each other's hosts.
        self.actor = (
            ray.remote(_Hosting)
            .options(
                num_cpus=0,
                max_concurrency=_MAX_CALLS,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
            )
            .remote(factory, step_timeout_s, sys.path)
        )

    def kill(self) -> None:
        """End the actor, and with it its worker process."""
        import ray

        if not self.is_lost and ray.is_initialized():
            ray.kill(self.actor)
        self.is_lost = True


class _Hosting:
    """The Ray actor itself: lives on a node."""

    def __init__(self, factory: bytes, step_timeout_s: float, path: list[str]) -> None:
        # As multiprocessing does it: what the driver can import from a shared place is found here, too.
        sys.path += [place for place in path if place not in sys.path]
        self._workers = ProcessWorkers(functools.partial(_make_env, factory), 1, step_timeout_s=step_timeout_s)
        self._players: dict[bytes, Player] = {}
        self._playing: dict[int, asyncio.Task[Any]] = {}

    async def play(self, number: int, player: bytes, item: Any) -> bytes:
        """Play, and return the player's answer, pickled here: it holds only what was seen to travel."""
        playing = self._playing[number] = asyncio.ensure_future(self._play(player, item))
        try:
            return pickle.dumps(await playing)
        finally:
            del self._playing[number]

    async def stop(self, number: int) -> None:
        """Cancel what is being played; its player may still answer."""
        if number in self._playing:
            self._playing[number].cancel()

    async def _play(self, pickled: bytes, item: Any) -> Any:
        if pickled not in self._players:
            self._players[pickled] = pickle.loads(pickled)
            if len(self._players) > MAX_PLAYERS:
                await self._players.pop(next(iter(self._players))).aclose()
        return await self._players[pickled](item, self._workers)


def _make_env(factory: bytes) -> Any:
    return pickle.loads(factory)()


def _pickled(value: object, what: str) -> bytes:
    from ray import cloudpickle

    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:
        raise ConfigError(f"workers='ray' needs a picklable {what}, got {value!r:.200}: {error}") from error


def _cpus_of_nodes() -> dict[str, int]:
    """Return the nodes that are alive, and have CPUs, with how many."""
    import ray

    found = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]}
    cpus = {node: count for node, count in found.items() if count > 0}
    if not cpus:
        raise ConfigError("workers='ray' needs a Ray node with a CPU, got none that is alive. Look at: ray status")
    return cpus
