"""MetaReward, the reward of a reflection: the mean score of its batch, replayed under the new prompt."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from metagym.env import MetaEnv
from metagym.errors import ConfigError, InfrastructureError
from metagym.reflectors import read_reflection
from metagym.registration import make
from metagym.training.experience import check_fingerprints
from metagym.types import Completion, MetaStep, Record, Text, derive_seed


class RewardConfig(Record):
    """The settings of the reward."""

    on: Literal["same", "fresh"] = "same"
    """`same`: replay the batch of the reflection, as in the paper. `fresh`: new tasks of its families and split."""
    relative: bool = False
    """Whether to subtract the mean score of the old prompt, replayed on the same tasks. Group-normalised advantages
    do not depend on it; logs and pooled baselines do."""
    repetitions: int = Field(default=1, ge=1)
    """Episodes per task, for random actors."""
    format_penalty: float = 0.0
    """Subtracted if the reply holds no usable prompt; the old prompt is then replayed."""
    length_penalty: float = 0.0
    """Subtracted per 1,000 characters of the new prompt."""


class RewardedReflection(Record):
    """The reward of a reflection, with the replay that it comes from."""

    reward: float | None
    """None if any of its episodes failed for infrastructure reasons. Leave such a candidate out; do not count a 0."""
    prompt: Text
    problem: Text = ""
    """Why the reply holds no usable prompt; empty if it holds one."""
    meta_step: MetaStep
    """The replay under the prompt."""


class MetaReward:
    """Rewards a group of reflections: parses each, replays the same batch under its prompt, returns the mean scores.

    A whole group is played in one run of the environment's engine, its episodes at the same time. Equal prompts in
    a group are each played, since a random actor may play them differently. With a deterministic actor, equal
    candidates get equal rewards at every call.

    >>> from metagym.envs.gates.meta import GatesMetaEnv
    >>> with GatesMetaEnv("demo", episodes_per_step=2) as env:
    ...     (before,) = env.replay([env.default_prompt], ["law-0007/1", "law-0007/2"])
    ...     reward = MetaReward(env)
    ...     reward(before, ["IMPROVED PROMPT: when the gate is oak, push", "no marker"])
    [0.0, 0.0]
    """

    def __init__(self, env: MetaEnv, config: RewardConfig | None = None) -> None:
        self.env, self.config = env, config or RewardConfig()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the rewards, beside the environment."""
        return {"kind": type(self).__name__, **self.config.model_dump()}

    def __call__(self, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[float | None]:
        """Return one reward per completion; None if an episode failed for infrastructure reasons."""
        return [item.reward for item in self.rewarded(meta_step, completions)]

    def rewarded(self, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[RewardedReflection]:
        """Return the rewards with their replays, in the order of `completions`."""
        if not meta_step.trajectories:
            raise ConfigError("Expected a meta-step with trajectories, got an empty one: there is nothing to replay.")
        if not completions:
            return []
        replies = [Completion(text=item) if isinstance(item, str) else item for item in completions]
        read = [read_reflection(reply) for reply in replies]
        prompts = [meta_step.prompt if prompt is None else prompt for _, prompt, _ in read]
        baseline = [meta_step.prompt] if self.config.relative else []
        # A branch has no meta-episode, whose seed would be that of the replays: a resumed run has none, either.
        env = self.env.branch(ledger=self.env.ledger, rng=np.random.default_rng(0))
        played = env.replay([*prompts, *baseline], self._task_ids(meta_step), repetitions=self.config.repetitions)
        before = _mean_score(played[-1]) if baseline else 0.0
        results = []
        for (_, _, problem), prompt, replayed in zip(read, prompts, played, strict=False):
            penalty = self.config.length_penalty * len(prompt) / 1_000
            penalty += self.config.format_penalty if problem else 0.0
            score = _mean_score(replayed)
            reward = None if score is None or before is None else score - before - penalty
            results.append(RewardedReflection(reward=reward, prompt=prompt, problem=problem, meta_step=replayed))
        return results

    def _task_ids(self, meta_step: MetaStep) -> list[str]:
        tasks = [trajectory.task for trajectory in meta_step.trajectories]
        if self.config.on == "same":
            return list(dict.fromkeys(task.id for task in tasks))
        # The seed is the batch's own ids: every candidate gets the same fresh tasks, at every call.
        rng = np.random.default_rng(derive_seed("fresh reward tasks", *(task.id for task in tasks)))
        families, known = sorted({task.family for task in tasks}), {task.id for task in tasks}
        drawn = self.env.task_set.draw(
            len(tasks), rng=rng, families=families, split=self.env.config.split, exclude=known
        )
        return [task.id for task in drawn]


async def reward_reply(
    env_id: str,
    env_options: dict[str, Any],
    meta_step: dict[str, Any],
    reply: str,
    config: RewardConfig | None = None,
    *,
    fingerprint: str | None = None,
) -> tuple[float, str]:
    """Return the reward of one reply, and why it holds no usable prompt (empty if it holds one).

    For trainers that pass no objects: the process keeps one environment for each id and options. They have no missing
    rewards: if an episode fails, this raises. It never returns 0 instead.

    Raises:
        ConfigError: the experience has another `fingerprint` than the environment.
        InfrastructureError: an episode of the replay failed.
    """
    with _LOCK:
        env = _meta_env(env_id, json.dumps(env_options, sort_keys=True))
    if fingerprint is not None:
        check_fingerprints([fingerprint], env)
    before = MetaStep.model_validate(meta_step)
    # `replay` blocks until its own event loop has finished: it must not block this one.
    (result,) = await asyncio.to_thread(MetaReward(env, config).rewarded, before, [reply])
    if result.reward is None:
        failed = next(item.error for item in result.meta_step.trajectories if item.score is None)
        raise InfrastructureError(f"The replay failed, so this reflection has no reward: {failed}")
    return result.reward, result.problem


_LOCK = threading.Lock()


@functools.cache
def _meta_env(env_id: str, options: str) -> MetaEnv:
    env = make(env_id, **json.loads(options)).unwrapped
    if not isinstance(env, MetaEnv):
        raise ConfigError(f"Expected the id of a meta-environment, got {env_id!r}: `metagym envs` lists them.")
    return env


def _mean_score(meta_step: MetaStep) -> float | None:
    """Return the mean score; None if any episode failed: means over different tasks cannot be ranked in a group."""
    return None if meta_step.num_failed else meta_step.reward
