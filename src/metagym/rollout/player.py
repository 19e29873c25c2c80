"""Player: plays lists of episodes, takes from the record what was played before, and retries what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from metagym.actors import Actor
from metagym.budget import Ledger
from metagym.config import MetaEnvConfig, RolloutConfig
from metagym.errors import BudgetExceededError
from metagym.extensions import extension_of
from metagym.rollout.engine import RolloutEngine
from metagym.rollout.episode import Score
from metagym.types import Episode, Trajectory
from metagym.workers import RemoteWorkers, Workers


class Recorder(Protocol):
    """Keeps what is played; a run folder is one."""

    def record_episode(self, trajectory: Trajectory) -> None:
        """Keep a finished episode."""
        ...

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of an episode that was played before; or None."""
        ...


class Player:
    """Plays episodes with one actor on one set of workers, and books them in one ledger.

    An episode that the recorder holds is not played again. An episode that fails for infrastructure reasons is
    retried up to `retries` times. If the budget ends within a batch, the finished episodes are remembered, and
    the next call with the same episodes plays only the missing ones.
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
        self.recorder: Recorder | None = None
        self.on_episode: Callable[[Trajectory], None] | None = None
        """Called with each finished trajectory, from the engine's thread."""
        self.engine = RolloutEngine(
            actor,
            workers,
            config=RolloutConfig(**config.model_dump(include=set(RolloutConfig.model_fields))),
            score=score,
            on_episode=self._finish,
            recall=self._recall,
            slots=slots,
        )
        self._prices = extension_of(extension_of(actor).model).prices
        self._finished: dict[tuple[int, str, str, int], Trajectory] = {}

    def branch(self, config: MetaEnvConfig, *, score: Score, ledger: Ledger, retries: int) -> Player:
        """Return a player on the same actor, workers and recorder, with its own books and retries."""
        engine = self.engine
        other = Player(
            engine.actor, engine.workers, config, score=score, ledger=ledger, retries=retries, slots=engine.slots
        )
        other.recorder, other.on_episode = self.recorder, self.on_episode
        return other

    async def play(self, episodes: Sequence[Episode]) -> tuple[Trajectory, ...]:
        """Play the episodes and return their records, in the order of `episodes`.

        Raises:
            BudgetExceededError: the budget ran out; it carries the records.
        """
        self.ledger.begin_episodes(sum(not self._is_finished(episode) for episode in episodes))
        with self.ledger.timed(), self.ledger.open():
            try:
                played = await self._play_with_retries(episodes)
            except BudgetExceededError as error:
                self._finished |= {item.episode.key: item for item in error.trajectories if item.score is not None}
                self._give_back(error.trajectories)
                raise
        self._give_back(played)
        return played

    async def _play_with_retries(self, episodes: Sequence[Episode]) -> tuple[Trajectory, ...]:
        played = list(await self.engine.run(episodes))
        for _ in range(self.retries):
            failed = [index for index, item in enumerate(played) if item.score is None]
            if not failed:
                break
            try:
                retried = await self.engine.run([episodes[index] for index in failed])
            except BudgetExceededError as error:
                for index, item in zip(failed, error.trajectories, strict=True):
                    played[index] = item
                error.trajectories = tuple(played)
                raise
            for index, item in zip(failed, retried, strict=True):
                played[index] = item
        return tuple(played)

    def _give_back(self, played: Sequence[Trajectory]) -> None:
        """Take failed episodes out of the books: they are played again, and cost no method anything."""
        self.ledger.give_back_episodes(sum(item.score is None for item in played))

    def _is_finished(self, episode: Episode) -> bool:
        finished = self._finished.get(episode.key)
        return finished is not None and finished.episode == episode  # the key does not name the prompt

    def _recall(self, episode: Episode) -> Trajectory | None:
        if self._is_finished(episode):
            return self._finished.pop(episode.key)
        recalled = self.recorder.recall_episode(episode) if self.recorder is not None else None
        if recalled is not None:
            self.ledger.count_recorded(recalled, self._prices)
        return recalled

    def _finish(self, trajectory: Trajectory) -> None:
        self.ledger.add(trajectory)
        if self.recorder is not None:
            self.recorder.record_episode(trajectory)
        if self.on_episode is not None:
            self.on_episode(trajectory)
