"""Episodes that are played on another machine: the request that goes there, and the result that comes back.

The actor goes to the host of the inner environment, so that model calls leave from there. Back come the steps, a
failure, every attempt at a model call, and every exchange for the cassette: only the driver's ledger and cassette last.
This module knows nothing of Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from metagym.actor import Actor
from metagym.budget import Attempt, Ledger, Purpose, current_purpose, open_ledger, spending_on
from metagym.errors import ConfigError, UserTrace, in_words, keep_trace, user_trace
from metagym.models import Call, Cassette
from metagym.models.cassette import Mode, Rows, open_cassette
from metagym.optional_attributes import extension_of
from metagym.types import Episode, Step, Trajectory, step_seed
from metagym.workers import HostLease, RemoteWorkers, WorkerLostError, Workers

logger = logging.getLogger(__name__)

CANCEL_TIMEOUT_S = 5.0
"""Seconds to wait for the result of a cancelled episode, which holds its model calls."""

RunEpisode = Callable[..., Awaitable[Trajectory]]
"""(episode, *, env, steps) -> the trajectory; a `functools.partial` of `run_episode`."""


class EpisodeRequest(NamedTuple):
    """An episode, the purpose of its model calls, and the replies that the driver's cassette already holds."""

    episode: Episode
    purpose: Purpose
    mode: Mode | None
    """The mode of the open cassette; None if no cassette is open."""
    replies: Rows


class EpisodeResult(NamedTuple):
    """Everything that an episode leaves behind, finished or not."""

    trajectory: Trajectory | None
    steps: tuple[Step, ...]
    """The steps before a failure; empty if there is a trajectory, which holds its own."""
    failure: BaseException | None
    """The failure, if it can be pickled."""
    failure_text: tuple[str, str]
    """Name and text of the failure, for one that cannot be pickled."""
    trace: UserTrace
    """The user's part of its traceback."""
    attempts: tuple[Attempt, ...]
    replies: Rows


class EpisodeRunner:
    """The remote side: plays an episode on the host. Picklable if the actor is."""

    def __init__(self, run: RunEpisode, actor: Actor) -> None:
        self._run, self._actor = run, actor

    async def __call__(self, request: EpisodeRequest, workers: Workers) -> EpisodeResult:
        """Play the episode; a failure or a cancellation is part of the result."""
        ledger, settled, steps = Ledger(), list[Attempt](), list[Step]()
        ledger.on_attempt = settled.append
        trajectory = failure = None
        with ledger.open(), spending_on(request.purpose), _cassette_for(request) as cassette:
            try:
                async with workers.lease() as env:
                    trajectory = await self._run(request.episode, env=env, steps=steps)
            except (Exception, asyncio.CancelledError) as error:
                failure = error
            replies = cassette.rows() if cassette is not None else Rows()
        return EpisodeResult(
            trajectory,
            () if trajectory is not None else tuple(steps),
            failure if _is_picklable(failure) else None,
            ("", "") if failure is None else (type(failure).__name__, in_words(failure).partition(": ")[2]),
            UserTrace() if failure is None else user_trace(failure),
            tuple(attempt for attempt in settled if attempt.outcome != "reserved"),
            replies,
        )

    async def aclose(self) -> None:
        """Close the actor's connections."""
        await extension_of(self._actor).aclose()


class RemoteRollout:
    """The driver's side: sends the episodes of one run of the engine to hosts, and books their model calls."""

    def __init__(self, run: RunEpisode, actor: Actor, workers: RemoteWorkers, *, max_steps: int) -> None:
        self._runner, self._workers = EpisodeRunner(run, actor), workers
        self._is_scripted, self._max_steps = extension_of(actor).scripted, max_steps
        ledger, cassette = open_ledger(), open_cassette()
        if ledger is not None and ledger.limited_units - {"episodes"}:
            raise ConfigError(
                "workers='ray' cannot keep a budget: model calls leave from the nodes, and asking the driver before "
                f"each would hold them up. Got {ledger.budget!r}. Limit episodes instead, play with workers=N, or "
                "limit the spending at the model server."
            )
        if cassette is not None and cassette.share:
            raise ConfigError(
                "workers='ray' cannot use a cassette with share=True: nodes get an episode's own replies."
            )

    async def play(self, episode: Episode, steps: list[Step]) -> Trajectory:
        """Play an episode on a host; `steps` receives its steps, also if it fails.

        If the machine is lost, the ledger holds one attempt of unknown cost.
        """
        async with self._workers.lease_host() as host:
            try:
                result = await self._result(host, episode)
            except WorkerLostError:
                self._book_loss(episode)
                raise
        self._book(result)
        if result.trajectory is not None:
            steps.extend(result.trajectory.steps)
            return result.trajectory
        steps.extend(result.steps)
        name, text = result.failure_text
        failure = result.failure or type(name, (Exception,), {})(text)
        keep_trace(failure, result.trace)
        raise failure

    async def _result(self, host: HostLease, episode: Episode) -> EpisodeResult:
        running: asyncio.Future[EpisodeResult] = asyncio.ensure_future(host.run(self._runner, self._request(episode)))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            ending = asyncio.ensure_future(self._cancel(host, running))
            while not ending.done():
                with contextlib.suppress(asyncio.CancelledError):  # an engine cancels twice
                    await asyncio.shield(ending)
            raise

    async def _cancel(self, host: HostLease, running: asyncio.Future[EpisodeResult]) -> None:
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await host.cancel()
                self._book(await running)
        except Exception as error:  # the machine may be lost, too
            logger.warning("The model calls of a cancelled episode are lost: %s: %s", type(error).__name__, error)
            running.cancel()

    def _request(self, episode: Episode) -> EpisodeRequest:
        cassette = open_cassette()
        if cassette is None:
            return EpisodeRequest(episode, current_purpose(), None, Rows())
        calls = [
            Call("actor", episode.arm, episode.meta_step, step_seed(episode.seed, turn), episode.repetition)
            for turn in range(self._max_steps)
        ]
        return EpisodeRequest(episode, current_purpose(), cassette.mode, cassette.rows(calls))

    def _book(self, result: EpisodeResult) -> None:
        if (ledger := open_ledger()) is not None:
            ledger.adopt(result.attempts)
        if (cassette := open_cassette()) is not None and cassette.mode != "replay":
            cassette.adopt(result.replies)

    def _book_loss(self, episode: Episode) -> None:
        ledger = open_ledger()
        if ledger is None or self._is_scripted:
            return
        lost = Attempt(
            number=-1,
            role="actor",
            purpose=current_purpose(),
            meta_step=episode.meta_step,
            arm=episode.arm,
            outcome="unknown",
            reason=f"the node that played {episode.task.id} was lost, and with it the count of the episode's calls",
        )
        ledger.adopt([lost])


@contextlib.contextmanager
def _cassette_for(request: EpisodeRequest) -> Iterator[Cassette | None]:
    if request.mode is None:
        yield None
        return
    cassette = Cassette(":memory:", mode="read-through")
    cassette.adopt(request.replies)
    cassette.mode = request.mode  # only now: the mode "replay" expects a cassette that already exists
    with contextlib.closing(cassette), cassette.open():
        yield cassette


def _is_picklable(error: BaseException | None) -> bool:
    try:
        copy: Any = pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return type(copy) is type(error) and str(copy) == str(error)
