"""The engine plays many episodes at once without a barrier; the player over it recalls, retries and books them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Protocol

from metagym.actor import Actor
from metagym.budget import Ledger
from metagym.config import MetaEnvConfig, RolloutConfig
from metagym.errors import BudgetExceededError, InfrastructureError, InnerEnvError, with_place
from metagym.optional_attributes import extension_of
from metagym.rollout.episode import DEFAULT_CONFIG, PlayEpisode, Score, default_score, failed_episode, play_on
from metagym.types import Episode, Step, Trajectory
from metagym.workers import RemoteWorkers, WorkerLostError, Workers

logger = logging.getLogger(__name__)

MAX_LOSSES = 20
"""How many times an episode is repeated when another episode killed its worker process."""


class RolloutEngine:
    """Plays episodes concurrently. Each runs at its own pace, and a finished one frees its slot at once.

    `on_episode` is called with each trajectory as it finishes. `recall` may return an episode's record
    from an earlier run; that episode is not played again. Given deterministic replies, the trajectories
    depend neither on the concurrency nor on the order in which episodes finish. `slots` are another
    engine's, if both together keep one limit on concurrency.
    """

    def __init__(
        self,
        actor: Actor,
        workers: Workers | RemoteWorkers,
        *,
        config: RolloutConfig = DEFAULT_CONFIG,
        score: Score = default_score,
        on_episode: Callable[[Trajectory], None] | None = None,
        recall: Callable[[Episode], Trajectory | None] | None = None,
        slots: asyncio.Semaphore | None = None,
    ) -> None:
        self.actor, self.workers, self.config = actor, workers, config
        self._score, self._on_episode, self._recall = score, on_episode, recall
        own_limit = extension_of(extension_of(actor).model).max_conversations
        self.max_concurrency = min(config.max_concurrency, own_limit or config.max_concurrency)
        # Several runs may be under way at once (reflectors with their own rollouts): the limit holds for all of them.
        self.slots = slots or asyncio.Semaphore(self.max_concurrency)

    async def run(self, episodes: Sequence[Episode], *, raise_stops: bool = False) -> tuple[Trajectory, ...]:
        """Play the episodes and return their records, in the order of `episodes`.

        An infrastructure error is not raised here; it is in the episode's record, which has no `score`. After an
        error that no later episode can escape (`error.stops_run`: a wrong key, a server that is down), no further
        episode is started, and the records of the remaining ones hold that error; with `raise_stops` it is raised.

        Raises:
            BudgetExceededError: the budget ran out; it carries the records. Calls under way were waited for.
            InfrastructureError: with `raise_stops`, an error that no later episode can escape; it carries them, too.
            Exception: whatever `on_episode` raised; finished episodes have been handed to it before.
        """
        trajectories: dict[int, Trajectory] = {}
        queue = iter(enumerate(episodes))
        stops: list[InfrastructureError] = []
        # Made for each run: an outer trainer may have changed the actor since the last one.
        play = play_on(self.workers, self.actor, self.config, self._score)
        loops = [
            asyncio.create_task(self._play_queue(queue, trajectories, stops, play))
            for _ in range(min(self.max_concurrency, len(episodes)))
        ]
        try:
            await asyncio.gather(*loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
        played = tuple(trajectories[index] for index in range(len(episodes)))
        for stop in stops:
            if isinstance(stop, BudgetExceededError):
                error = BudgetExceededError(str(stop))  # a new one, to which no episode's traceback refers
                error.trajectories, error.ledger = played, stop.ledger
                raise error
            if raise_stops:
                stop.trajectories = played
                raise stop
        return played

    async def _play_queue(
        self,
        queue: Iterator[tuple[int, Episode]],
        trajectories: dict[int, Trajectory],
        stops: list[InfrastructureError],
        play: PlayEpisode,
    ) -> None:
        for index, episode in queue:
            recalled = None
            try:
                if self._recall is not None:
                    recalled = self._recall(episode)
            except BudgetExceededError as error:
                stops.append(error)
            if recalled is not None:
                trajectories[index] = recalled
            elif stops:
                trajectories[index] = failed_episode(episode, self.actor, (), stops[0])
                continue  # nothing was played: there is nothing to record
            else:
                async with self.slots:
                    trajectories[index] = await self._play_with_attempts(episode, stops, play)
                if self._on_episode is not None:
                    self._on_episode(trajectories[index])
            # A scripted actor never suspends; this gives the other episodes, and a cancellation, their turn.
            await asyncio.sleep(0)

    async def _play_with_attempts(
        self, episode: Episode, stops: list[InfrastructureError], play: PlayEpisode
    ) -> Trajectory:
        attempt, losses = 1, 0
        failure: BaseException
        while attempt <= self.config.attempts:
            steps: list[Step] = []
            try:
                return await play(episode, steps)
            except (Exception, asyncio.CancelledError) as error:
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                    raise  # this episode is cancelled, not a task of the actor's own
                failure = error
                # The end of a budget is no failure: the caller who asked for the episodes decides.
                level = logging.INFO if isinstance(error, BudgetExceededError) else logging.WARNING
                logger.log(
                    level,
                    "The episode on the task %r in meta-step %d failed at attempt %d: %s",
                    *(episode.task.id, episode.meta_step, attempt, with_place(error)),
                )
                logger.debug("Its traceback:", exc_info=error)
                if isinstance(error, InfrastructureError) and error.stops_run:
                    stops.append(error)
                # The model layer has retried already; a missing package stays missing, a bug stays a bug.
                if not isinstance(error, InnerEnvError):
                    break
                if isinstance(error, WorkerLostError) and not error.is_culprit and losses < MAX_LOSSES:
                    losses += 1  # another episode took the process down
                else:
                    attempt += 1
        return failed_episode(episode, self.actor, steps, failure)


class Recorder(Protocol):
    """Keeps the played episodes; a run folder is one."""

    def record_episode(self, trajectory: Trajectory) -> None:
        """Keep a finished episode."""

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of an episode that was played before; or None."""


EpisodeName = tuple[tuple[int, str, str, int], str]
"""The key of an episode, and its prompt."""


class Player:
    """Plays episodes with one actor on one set of workers, and books them in one ledger.

    An episode that the recorder holds is not played again. An episode that fails for infrastructure reasons is
    retried up to `retries` times. If the budget or, with `raise_stops`, an outage ends a batch, the finished episodes
    are remembered, and the next call with the same episodes plays only the missing ones.
    """

    def __init__(
        self,
        actor: Actor,
        workers: Workers | RemoteWorkers,
        config: MetaEnvConfig,
        *,
        score: Score,
        ledger: Ledger,
        retries: int = 0,
        slots: asyncio.Semaphore | None = None,
    ) -> None:
        self.ledger, self.retries = ledger, retries
        self.raise_stops = False
        """Whether an error that no later episode can escape is raised, besides that of a budget."""
        self.recorder: Recorder | None = None
        self.on_episode: Callable[[Trajectory], None] | None = None
        """Called with each finished trajectory, from the engine's thread."""
        self.engine = RolloutEngine(
            actor,
            workers,
            # Only these fields: the configuration travels to remote hosts, and a schedule may not be picklable.
            config=RolloutConfig(**config.model_dump(include=set(RolloutConfig.model_fields))),
            score=score,
            on_episode=self._finish,
            recall=self._recall,
            slots=slots,
        )
        self._prices = extension_of(extension_of(actor).model).prices
        self._finished: dict[tuple[int, str, str, int], Trajectory] = {}
        self._recorded: dict[EpisodeName, Trajectory] = {}
        """Episodes that were found in the record, and that the engine has not asked for yet."""

    def branch(self, config: MetaEnvConfig, *, score: Score, ledger: Ledger, retries: int) -> Player:
        """Return a player on the same actor, workers and recorder, with its own books and retries."""
        engine = self.engine
        other = Player(
            engine.actor, engine.workers, config, score=score, ledger=ledger, retries=retries, slots=engine.slots
        )
        other.recorder, other.on_episode = self.recorder, self.on_episode
        return other

    async def play(self, episodes: Sequence[Episode]) -> tuple[Trajectory, ...]:
        """Play the episodes and return their records, in the order of `episodes`; see `RolloutEngine.run`."""
        waiting = [episode for episode in episodes if not self._is_finished(episode)]
        recorded = self._find_recorded(waiting)
        self.ledger.begin_episodes(len(waiting), num_recorded=len(recorded))
        self._recorded |= recorded
        with self.ledger.timed(), self.ledger.open():
            try:
                played = await self._play_with_retries(episodes)
            except InfrastructureError as error:
                self._finished |= {item.episode.key: item for item in error.trajectories if item.score is not None}
                self._give_back_failed(error.trajectories, recorded)
                raise
            except BaseException:  # the step will be taken again, and counts its episodes then, except recorded ones
                self.ledger.give_back_episodes(len(waiting), num_recorded=len(self._find_recorded(waiting)))
                raise
            finally:
                for name in recorded:
                    self._recorded.pop(name, None)
        # Failed episodes are not counted: they are played again, and no method pays for them.
        self._give_back_failed(played, recorded)
        return played

    def _find_recorded(self, episodes: Sequence[Episode]) -> dict[EpisodeName, Trajectory]:
        if self.recorder is None:
            return {}
        found = {_name_of(episode): self.recorder.recall_episode(episode) for episode in episodes}
        return {name: trajectory for name, trajectory in found.items() if trajectory is not None}

    def _give_back_failed(self, played: Sequence[Trajectory], recorded: Container[EpisodeName]) -> None:
        failed = [_name_of(item.episode) for item in played if item.score is None]
        self.ledger.give_back_episodes(len(failed), num_recorded=sum(name in recorded for name in failed))

    async def _play_with_retries(self, episodes: Sequence[Episode]) -> tuple[Trajectory, ...]:
        played = await self.engine.run(episodes, raise_stops=self.raise_stops)
        for _ in range(self.retries):
            failed = [item.episode for item in played if item.score is None]
            if not failed:
                break
            try:
                played = _replace_failed(played, await self.engine.run(failed, raise_stops=self.raise_stops))
            except InfrastructureError as error:
                error.trajectories = _replace_failed(played, error.trajectories)
                raise
        return played

    def _is_finished(self, episode: Episode) -> bool:
        finished = self._finished.get(episode.key)
        return finished is not None and finished.episode == episode  # the key does not name the prompt

    def _recall(self, episode: Episode) -> Trajectory | None:
        if self._is_finished(episode):
            return self._finished.pop(episode.key)
        recalled = self._recorded.pop(_name_of(episode), None)
        if recalled is None and self.recorder is not None:
            recalled = self.recorder.recall_episode(episode)
        if recalled is not None:
            self.ledger.count_recorded(recalled, self._prices)
        return recalled

    def _finish(self, trajectory: Trajectory) -> None:
        self.ledger.add(trajectory)
        if self.recorder is not None:
            self.recorder.record_episode(trajectory)
        if self.on_episode is not None:
            self.on_episode(trajectory)


def _name_of(episode: Episode) -> EpisodeName:
    return episode.key, episode.prompt


def _replace_failed(played: Sequence[Trajectory], retried: Sequence[Trajectory]) -> tuple[Trajectory, ...]:
    rest = iter(retried)
    return tuple(next(rest) if item.score is None else item for item in played)
