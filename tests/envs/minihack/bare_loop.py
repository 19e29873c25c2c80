"""A bare loop that plays tasks and returns records, without the rollout engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from metagym.envs.minihack.demo import DEFAULT_PROMPT, MiniHackDemoActor, MiniHackDemoReflector
from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.tasks import MiniHackTaskSet
from metagym.types import Episode, MetaStep, Observation, Step, StopReason, Task, Trajectory, derive_seed


def play_episode(env: MiniHackTextEnv, prompt: str, task: Task, **options: Any) -> Trajectory:
    return asyncio.run(_play_episode(env, prompt, task, **options))


async def _play_episode(
    env: MiniHackTextEnv, prompt: str, task: Task, *, actor: Any = None, seed: int = 0, max_steps: int = 25
) -> Trajectory:
    actor = actor or MiniHackDemoActor()
    episode = Episode(prompt=prompt, task=task, seed=derive_seed(seed, task.id))
    text, info = env.reset(seed=task.seed, options={"task_id": task.id})
    steps: list[Step] = []
    reward, terminated, truncated = 0.0, False, False
    while True:
        observation = Observation(text=text, goal=info["goal"], available_actions=info["available_actions"])
        if terminated or truncated or len(steps) == max_steps:
            break
        action = await actor.act(episode, steps, observation)
        is_valid = action.text in info["available_actions"]
        command = action.text if is_valid else None
        if is_valid:
            text, reward, terminated, truncated, info = env.step(action.text)
        steps.append(
            Step(
                observation=observation,
                action=action,
                command=command,
                is_valid=is_valid,
                reward=float(reward),
                events=info["events"],
            )
        )
    reason = StopReason.TERMINATED if terminated else StopReason.TRUNCATED if truncated else StopReason.STEP_LIMIT
    return Trajectory(
        episode=episode,
        steps=tuple(steps),
        final_observation=observation,
        stop_reason=reason,
        stop_detail=info.get("outcome", ""),
        success=info["success"],
        score=float(info["success"]),
        scripted=True,
    )


def play_meta_step(
    env: MiniHackTextEnv, prompt: str, tasks: Sequence[Task], index: int = 0, **options: Any
) -> MetaStep:
    trajectories = tuple(play_episode(env, prompt, task, **options) for task in tasks)
    scores = [trajectory.score or 0.0 for trajectory in trajectories]
    return MetaStep(index=index, prompt=prompt, trajectories=trajectories, reward=float(np.mean(scores)))


def learn(
    env: MiniHackTextEnv,
    task_set: MiniHackTaskSet,
    families: Sequence[str],
    *,
    seed: int,
    num_steps: int = 10,
    batch_size: int = 5,
    prompt: str = DEFAULT_PROMPT,
    **options: Any,
) -> list[MetaStep]:
    rng = np.random.default_rng(seed)
    history: list[MetaStep] = []
    seen: set[str] = set()
    for index in range(num_steps):
        tasks = task_set.draw(batch_size, rng=rng, families=families, exclude=seen)
        seen.update(task.digest for task in tasks)
        history.append(play_meta_step(env, prompt, tasks, index, seed=seed, **options))
        prompt = asyncio.run(MiniHackDemoReflector().reflect(history)).prompt
    return history
