"""Rollouts: one loop that plays an episode, and an engine that plays many at once without a barrier."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Literal

from pydantic import Field

from metagym.actor import Actor
from metagym.away import Away
from metagym.errors import (
    ApparatusError,
    BudgetExceededError,
    ContextOverflowError,
    ContractError,
    InnerEnvError,
)
from metagym.types import (
    Action,
    Episode,
    Observation,
    Record,
    Step,
    StopReason,
    Trajectory,
    Usage,
    compact,
    sum_usage,
)
from metagym.workers import Frame, InnerEnv, SeatWorkers, WorkerLostError, Workers

logger = logging.getLogger(__name__)

MAX_LOSSES = 20
"""How often an episode is begun again because another one took its worker process down."""

Score = Callable[[Trajectory], float]
"""Gives a trajectory its number in the mean."""
PlayOnce = Callable[[Episode, list[Step]], Awaitable[Trajectory]]
"""Plays an episode, without a score; the list receives what was played, also where it fails."""


class RolloutConfig(Record):
    """How episodes are played."""

    max_steps: int = Field(default=25, ge=1)
    """Turns an episode may take; actions that cannot be executed count, so that no episode is endless."""
    max_concurrency: int = Field(default=64, ge=1)
    """Episodes in flight at once."""
    attempts: int = Field(default=2, ge=1)
    """How often an episode is begun where its inner environment fails. A model has retries of its own."""
    invalid: Literal["reject", "execute"] = "reject"
    """What becomes of an action that is not available: told to the actor, or handed to the inner environment."""


DEFAULT_CONFIG = RolloutConfig()


def default_score(trajectory: Trajectory) -> float:
    """Return 1.0 or 0.0 by success where the inner environment reports it, else the return."""
    return trajectory.episode_return if trajectory.success is None else float(trajectory.success)


def match_command(text: str, available: Sequence[str] | None) -> str | None:
    """Return the available command that `text` names: exactly, else up to case and white space; None if none.

    >>> match_command(" Step  N ", ("step n", "step s")), match_command("north", ("step n",))
    ('step n', None)
    """
    if available is None or text in available:
        return text if text.strip() else None
    wanted = " ".join(text.split()).casefold()
    same = [command for command in available if " ".join(command.split()).casefold() == wanted]
    return same[0] if len(same) == 1 else None


async def run_episode(
    episode: Episode,
    actor: Actor,
    env: InnerEnv,
    *,
    config: RolloutConfig = DEFAULT_CONFIG,
    score: Score = default_score,
    steps: list[Step] | None = None,
) -> Trajectory:
    """Play one episode and return its record.

    What the agent does wrong is data: an action that cannot be read or is not available is not executed,
    earns 0, and is answered by `Observation.feedback`. `steps` receives each step as it is made, so that
    the caller keeps what was played where the apparatus fails.

    Raises:
        Exception: whatever the actor or the inner environment raised, but for ContextOverflowError.
    """
    return _scored(await play_episode(episode, actor, env, config=config, steps=steps), score)


async def play_episode(
    episode: Episode,
    actor: Actor,
    env: InnerEnv,
    *,
    config: RolloutConfig = DEFAULT_CONFIG,
    steps: list[Step] | None = None,
) -> Trajectory:
    """Play one episode as `run_episode` does, and leave it without a score."""
    steps = [] if steps is None else steps
    frame = await env.reset(episode.task)
    observation = _observe(frame)
    stop_reason = StopReason.STEP_LIMIT
    while len(steps) < config.max_steps:
        try:
            action = await actor.act(episode, steps, observation)
        except ContextOverflowError:
            stop_reason = StopReason.CONTEXT_OVERFLOW
            break
        command, problem = _resolve(action, observation.available_actions, config.invalid)
        if command is None:
            next_observation, reward, events = observation.model_copy(update={"feedback": problem}), 0.0, ()
        else:
            frame = await env.step(command)
            next_observation, reward = _observe(frame), float(frame.reward)
            events = tuple(frame.info.get("events", ()))
        step = Step(
            observation=observation,
            action=action,
            command=command,
            is_valid=not problem,
            reward=reward,
            events=events,
        )
        steps.append(compact(step))
        observation = next_observation
        if frame.terminated or frame.truncated:
            stop_reason = StopReason.TERMINATED if frame.terminated else StopReason.TRUNCATED
            break
    success = frame.info.get("success")
    return Trajectory(
        episode=episode,
        steps=tuple(steps),
        final_observation=observation,
        stop_reason=stop_reason,
        stop_detail=str(frame.info.get("outcome", "")),
        success=None if success is None else bool(success),
        usage=_sum_usage(steps),
        scripted=getattr(actor, "scripted", False),
        actor_revision=getattr(actor, "revision", ""),
    )


def _scored(trajectory: Trajectory, score: Score) -> Trajectory:
    value = float(score(trajectory))
    if not math.isfinite(value):
        raise ContractError(f"A score must be a finite number, got {value!r}. Mend the environment's `score`.")
    return trajectory.model_copy(update={"score": value})


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
        stops: list[ApparatusError] = []
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
        stops: list[ApparatusError],
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

    async def _run_with_attempts(self, episode: Episode, stops: list[ApparatusError], play: PlayOnce) -> Trajectory:
        attempt, losses = 1, 0
        while attempt <= self.config.attempts:
            steps: list[Step] = []
            try:
                # The score is given here: one of the user's own need not travel.
                return _scored(await play(episode, steps), self._score)
            except Exception as error:
                failure = error
                # The end of a budget is no failure; who asked for the episodes says what it means.
                level = logging.INFO if isinstance(error, BudgetExceededError) else logging.WARNING
                logger.log(level, "Episode %s failed at attempt %d: %s", episode.key, attempt, error)
                logger.debug("Its traceback:", exc_info=error)
                if isinstance(error, ApparatusError) and error.stops_run:
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
            usage=_sum_usage(steps),
            error=f"{type(failure).__name__}: {failure}",
            scripted=getattr(self.actor, "scripted", False),
            actor_revision=getattr(self.actor, "revision", ""),
        )


def _observe(frame: Frame) -> Observation:
    info = frame.info
    available = info.get("available_actions")
    observation = Observation(
        text=frame.text,
        goal=info.get("goal", ""),
        available_actions=None if available is None else tuple(available),
        display=info.get("display"),
    )
    return compact(observation)


def _resolve(action: Action, available: tuple[str, ...] | None, invalid: str) -> tuple[str | None, str]:
    """Return the command to execute, or None, and the problem to tell the actor, or nothing."""
    if action.text is None:
        return None, action.problem or "Your reply could not be read."
    command = match_command(action.text, available)
    if command is not None:
        return command, ""
    problem = f"{action.text!r} is not an available action." if action.text.strip() else "Your action was empty."
    return (action.text if invalid == "execute" else None), problem


def _sum_usage(steps: Sequence[Step]) -> Usage:
    return sum_usage(step.action.completion.usage for step in steps if step.action.completion)
