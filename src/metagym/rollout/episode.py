"""The one loop that plays an episode: observe, act, check the action, step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from metagym.actors import Actor
from metagym.config import RolloutConfig
from metagym.errors import ContextOverflowError, ContractError
from metagym.extensions import extension_of
from metagym.types import Action, Episode, Observation, Step, StopReason, Trajectory, Usage, compact, sum_usage
from metagym.workers import Frame, InnerEnv

Score = Callable[[Trajectory], float]
"""Gives a trajectory its number in the mean."""

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
    return scored(await play_episode(episode, actor, env, config=config, steps=steps), score)


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
        usage=usage_of(steps),
        scripted=extension_of(actor).scripted,
        actor_revision=extension_of(actor).revision,
    )


def scored(trajectory: Trajectory, score: Score) -> Trajectory:
    value = float(score(trajectory))
    if not math.isfinite(value):
        raise ContractError(f"A score must be a finite number, got {value!r}. Mend the environment's `score`.")
    return trajectory.model_copy(update={"score": value})


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


def usage_of(steps: Sequence[Step]) -> Usage:
    return sum_usage(step.action.completion.usage for step in steps if step.action.completion)
