"""RolloutEngine: plays many episodes at once without a barrier."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from metagym.actors import Actor
from metagym.config import RolloutConfig
from metagym.errors import BudgetExceededError, InfrastructureError, InnerEnvError
from metagym.extensions import extension_of
from metagym.rollout.episode import DEFAULT_CONFIG, Score, default_score, play_episode, scored, usage_of
from metagym.rollout.remote import Away
from metagym.types import Episode, Step, StopReason, Trajectory
from metagym.workers import SeatWorkers, WorkerLostError, Workers

logger = logging.getLogger(__name__)

MAX_LOSSES = 20
"""How often an episode is begun again because another one took its worker process down."""

PlayOnce = Callable[[Episode, list[Step]], Awaitable[Trajectory]]
"""Plays an episode, without a score; the list receives what was played, also where it fails."""


class RolloutEngine:
    """Plays episodes concurrently. Each proceeds on its own, and a finished one frees its slot at once.

    `on_episode` is called with each trajectory as it finishes; `recall` may return an episode's record
    from an earlier run, which is then not played again. Given deterministic replies, the trajectories
    depend neither on the concurrency nor on the order in which episodes finish. `slots` is another
    engine's, where both together keep its bound.
    """

    def __init__(
        self,
        actor: Actor,
        workers: Workers | SeatWorkers,
        *,
        config: RolloutConfig = DEFAULT_CONFIG,
        score: Score = default_score,
        on_episode: Callable[[Trajectory], None] | None = None,
        recall: Callable[[Episode], Trajectory | None] | None = None,
        slots: asyncio.Semaphore | None = None,
    ) -> None:
        self.actor, self.workers, self.config = actor, workers, config
        self._score, self._on_episode, self._recall = score, on_episode, recall
        # Several runs may go on at once (reflectors with rollouts of their own): the bound holds for all of them.
        self.slots = slots or asyncio.Semaphore(self.config.max_concurrency)

    async def run(self, episodes: Sequence[Episode]) -> tuple[Trajectory, ...]:
        """Play the episodes and return their records, in the order of `episodes`.

        An apparatus that fails raises nothing here: the record says so (`stop_reason` is `error`, `score`
        is None). Where nothing that follows can succeed (`error.stops_run`: a wrong key, a server that is
        down), no further episode is begun, and their records say why.

        Raises:
            BudgetExceededError: the budget ran out; it carries the records. Calls under way were waited for.
            Exception: whatever `on_episode` raised; finished episodes have been handed to it before.
        """
        trajectories: dict[int, Trajectory] = {}
        queue = iter(enumerate(episodes))
        slots = min(self.config.max_concurrency, len(episodes))
        stops: list[InfrastructureError] = []
        play: PlayOnce = self._play_here
        if isinstance(self.workers, SeatWorkers):
            # One for each run: an outer trainer may have changed the actor since the last one.
            there = functools.partial(play_episode, actor=self.actor, config=self.config)
            play = Away(there, self.actor, self.workers, max_steps=self.config.max_steps).play
        players = [asyncio.create_task(self._play(queue, trajectories, stops, play)) for _ in range(slots)]
        try:
            await asyncio.gather(*players)
        finally:
            for player in players:
                player.cancel()
            await asyncio.gather(*players, return_exceptions=True)
        played = tuple(trajectories[index] for index in range(len(episodes)))
        for stop in stops:
            if isinstance(stop, BudgetExceededError):
                error = BudgetExceededError(str(stop))  # one that no episode's traceback holds on to
                error.trajectories, error.ledger = played, stop.ledger
                raise error
        return played

    async def _play(
        self,
        queue: Iterator[tuple[int, Episode]],
        trajectories: dict[int, Trajectory],
        stops: list[InfrastructureError],
        play: PlayOnce,
    ) -> None:
        for index, episode in queue:
            try:
                recalled = self._recall(episode) if self._recall is not None else None
            except BudgetExceededError as error:
                stops.append(error)
                recalled = None
            if stops and recalled is None:
                trajectories[index] = self._failed(episode, (), stops[0])
                continue  # nothing was played: there is nothing to record
            if recalled is None:
                async with self.slots:
                    trajectories[index] = await self._run_with_attempts(episode, stops, play)
            else:
                trajectories[index] = recalled
            if recalled is None and self._on_episode is not None:
                self._on_episode(trajectories[index])
            # A scripted actor never suspends; this lets the others, and a cancellation, have their turn.
            await asyncio.sleep(0)

    async def _play_here(self, episode: Episode, steps: list[Step]) -> Trajectory:
        assert not isinstance(self.workers, SeatWorkers)
        async with self.workers.lease() as env:
            return await play_episode(episode, self.actor, env, config=self.config, steps=steps)

    async def _run_with_attempts(
        self, episode: Episode, stops: list[InfrastructureError], play: PlayOnce
    ) -> Trajectory:
        attempt, losses = 1, 0
        while attempt <= self.config.attempts:
            steps: list[Step] = []
            try:
                # The score is given here: one of the user's own need not travel.
                return scored(await play(episode, steps), self._score)
            except Exception as error:
                failure = error
                # The end of a budget is no failure; who asked for the episodes says what it means.
                level = logging.INFO if isinstance(error, BudgetExceededError) else logging.WARNING
                logger.log(level, "Episode %s failed at attempt %d: %s", episode.key, attempt, error)
                logger.debug("Its traceback:", exc_info=error)
                if isinstance(error, InfrastructureError) and error.stops_run:
                    stops.append(error)
                # The model layer has tried again already; a missing package stays missing, a bug stays a bug.
                if not isinstance(error, InnerEnvError):
                    break
                if isinstance(error, WorkerLostError) and not error.is_culprit and losses < MAX_LOSSES:
                    losses += 1  # another episode took the process down
                else:
                    attempt += 1
        return self._failed(episode, steps, failure)

    def _failed(self, episode: Episode, steps: Sequence[Step], failure: Exception) -> Trajectory:
        return Trajectory(
            episode=episode,
            steps=tuple(steps),
            final_observation=None,
            stop_reason=StopReason.ERROR,
            usage=usage_of(steps),
            error=f"{type(failure).__name__}: {failure}",
            scripted=extension_of(self.actor).scripted,
            actor_revision=extension_of(self.actor).revision,
        )
