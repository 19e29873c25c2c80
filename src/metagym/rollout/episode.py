"""The one loop that plays an episode (observe, act, check the action, step), in this process or in another."""

from __future__ import annotations

import difflib
import functools
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from metagym.actor import Actor
from metagym.config import RolloutConfig
from metagym.errors import ContractError, ConversationError, mask_addresses, user_trace, with_place
from metagym.optional_attributes import Extension, extension_of
from metagym.rollout.remote import RemoteRollout
from metagym.tools import call_problem, read_call
from metagym.types import Action, Episode, Observation, Step, StopReason, Trajectory, compact, sum_usage
from metagym.workers import Frame, InnerEnv, RemoteWorkers, Workers

Score = Callable[[Trajectory], float]
"""Returns a trajectory's number in the mean."""
PlayEpisode = Callable[[Episode, list[Step]], Awaitable[Trajectory]]
"""Plays an episode; the list receives its steps, also if the episode fails."""

Tools = tuple[Any, ...] | None
"""The schemas that an inner environment offers now; None if it offers no tools."""

DEFAULT_CONFIG = RolloutConfig()
MAX_QUOTED = 200
"""Characters of an invalid action that its feedback quotes."""


def default_score(trajectory: Trajectory) -> float:
    """Return 1.0 or 0.0 by success if the inner environment reports it, else the return."""
    return trajectory.episode_return if trajectory.success is None else float(trajectory.success)


def progress_score(trajectory: Trajectory) -> float:
    """Return how much of the goal was reached, from 0 to 1."""
    if trajectory.progress is None:
        raise ContractError(
            "score='progress' needs info['progress'] in every step, got nothing in the last one. Return the value that "
            "was reached, and 0.0 before."
        )
    return trajectory.progress


async def run_episode(
    episode: Episode,
    actor: Actor,
    env: InnerEnv,
    *,
    config: RolloutConfig = DEFAULT_CONFIG,
    score: Score | None = default_score,
    steps: list[Step] | None = None,
) -> Trajectory:
    """Play one episode and return its record; with `score=None` it has no score yet.

    The agent's mistakes are data: an action that cannot be read or is not available is not executed, earns 0,
    and is answered by `Observation.feedback`. `steps` receives each step as it is made, so that the caller has
    the steps even if the episode fails.
    """
    steps = [] if steps is None else steps
    frame = await env.reset(episode.task)
    if config.score == "progress" and frame.info.get("progress") is None:
        raise ContractError(
            "score='progress' needs an inner environment that reports info['progress'], a number from 0 to 1; "
            f"{episode.task.id!r} reported no progress. Use score='success'."
        )
    observation, stop_reason = _observe(frame), StopReason.STEP_LIMIT
    tools = observation.tools
    while len(steps) < config.max_steps:
        try:
            action = await actor.act(episode, steps, observation)
        except ConversationError as error:
            stop_reason = StopReason(error.stop_reason)
            break
        if not isinstance(action, Action):
            raise ContractError(f"Expected an actor to return an Action, got {type(action).__name__}: {action!r:.200}.")
        command, problem = _resolve(action, observation.available_actions, tools, config.invalid)
        if command is None:
            reward, events = 0.0, ()
            feedback = problem + _count_in_a_row(steps)
            next_observation = observation.model_copy(update={"feedback": feedback, "tools": None})
        else:
            frame = await env.step(command)
            reward, events = frame.reward, frame.info.get("events", ())
            next_observation = _observe(frame, tools)
            tools = tools if next_observation.tools is None else next_observation.tools
        step = Step(
            observation=observation, action=action, command=command, is_valid=not problem, reward=reward, events=events
        )
        steps.append(compact(step))
        observation = next_observation
        if frame.terminated or frame.truncated:
            stop_reason = StopReason.TERMINATED if frame.terminated else StopReason.TRUNCATED
            break
    trajectory = _record(
        episode,
        actor,
        steps,
        final_observation=observation,
        stop_reason=stop_reason,
        stop_detail=frame.info.get("outcome", ""),
        success=frame.info.get("success"),
        progress=frame.info.get("progress"),
    )
    return trajectory if score is None else _with_score(trajectory, score)


def failed_episode(episode: Episode, actor: Actor, steps: Sequence[Step], failure: BaseException) -> Trajectory:
    """Return the record of an episode that failed for infrastructure reasons, with the steps before the failure."""
    error, traceback = map(mask_addresses, (with_place(failure), user_trace(failure).text))
    about = {"stop_reason": StopReason.ERROR, "error": error, "traceback": traceback}
    return _record(episode, actor, steps, final_observation=None, **about)


def play_on(workers: Workers | RemoteWorkers, actor: Actor, config: RolloutConfig, score: Score) -> PlayEpisode:
    """Return the function that plays an episode on `workers`: the actor in this process, or next to a remote host."""
    if isinstance(workers, RemoteWorkers):
        run = functools.partial(run_episode, actor=actor, config=config, score=None)
        remote = RemoteRollout(run, actor, workers, max_steps=config.max_steps)

        async def play_remotely(episode: Episode, steps: list[Step]) -> Trajectory:
            # The score is given in this process, so that a user's `score` need not be picklable.
            return _with_score(await remote.play(episode, steps), score)

        return play_remotely

    async def play(episode: Episode, steps: list[Step]) -> Trajectory:
        async with workers.lease() as env:
            return await run_episode(episode, actor, env, config=config, score=score, steps=steps)

    return play


def match_command(text: str, available: Sequence[str] | None) -> str | None:
    """Return the available command that `text` names: exactly, else up to case and white space; else None.

    >>> match_command(" Step  N ", ("step n", "step s")), match_command("north", ("step n",))
    ('step n', None)
    """
    if available is None or text in available:
        return text if text.strip() else None
    wanted = " ".join(text.split()).casefold()
    same = {command for command in available if " ".join(command.split()).casefold() == wanted}
    return same.pop() if len(same) == 1 else None


def _observe(frame: Frame, before: Tools = None) -> Observation:
    """Return the frame as an observation; it holds the tools only if they are not those of the observation before."""
    info = frame.info
    tools = info.get("tools")
    observation = Observation(
        text=frame.text,
        goal=info.get("goal", ""),
        available_actions=info.get("available_actions"),
        display=info.get("display"),
        tools=None if tools is None or tools == before else tools,
    )
    return compact(observation)


def _resolve(
    action: Action, available: tuple[str, ...] | None, tools: Tools = None, invalid: str = "reject"
) -> tuple[str | None, str]:
    """Return the command that an action means, or None, and the problem if it is invalid.

    If the environment offers tools, a call is held to the tool's schema, and is executed as canonical JSON. Any other
    text is the agent's answer.
    """
    if action.text is None:
        return None, action.problem or "Your reply could not be read."
    call = None if tools is None else read_call(action.text)
    if call is not None and tools is not None:
        problem = call_problem(call, tools)
        return (None if problem and invalid == "reject" else call.text), problem
    command = match_command(action.text, available)
    if command is not None:
        return command, ""
    problem = _not_available(action.text, available or ()) if action.text.strip() else "Your action was empty."
    return (action.text if invalid == "execute" else None), problem


def _count_in_a_row(steps: Sequence[Step]) -> str:
    """Return the feedback's addition if the steps before were not executed either.

    The reply itself is not sent back. So without a number, a model that repeats itself would be asked the same again.
    """
    num = 1 + sum(1 for _ in itertools.takewhile(lambda step: step.command is None, reversed(steps)))
    return "" if num == 1 else f" {num} actions in a row were not executed. Choose another one."


def _not_available(text: str, available: Sequence[str]) -> str:
    """Return the problem with an action that is not available, with the one that comes nearest."""
    text = text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."
    near = [action for action in available if text.startswith(action)] or difflib.get_close_matches(text, available, 1)
    such_as = f", such as {max(near, key=len)!r}" if near else ""
    return f"{text!r} is not an available action. Copy one of them letter by letter{such_as}."


def _record(episode: Episode, actor: Actor, steps: Sequence[Step], **fields: Any) -> Trajectory:
    about = actor if isinstance(actor, Extension) else extension_of(actor)
    return Trajectory(
        episode=episode,
        steps=tuple(steps),
        usage=sum_usage(step.action.completion.usage for step in steps if step.action.completion),
        scripted=about.scripted,
        actor_revision=about.revision,
        **fields,
    )


def _with_score(trajectory: Trajectory, score: Score) -> Trajectory:
    given: Any = score(trajectory)
    try:
        value = math.nan if isinstance(given, str | bytes) else float(given)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ContractError(f"A score must be a finite number, got {given!r:.100}. Fix the environment's `score`.")
    return trajectory.model_copy(update={"score": value})
