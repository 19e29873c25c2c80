"""MetaReward, the reward of a reflection: the mean score of its batch, replayed under the new prompt."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.reflectors import read_reflection
from metagym.registration import make
from metagym.types import Completion, MetaStep, Record, derive_seed


class RewardConfig(Record):
    """The settings of the reward."""

    on: str = "same"
    """`same`: replay the batch of the reflection, as in the paper. `fresh`: new tasks of its families and split."""
    relative: bool = False
    """Whether to subtract the mean score of the old prompt, replayed on the same tasks. Group-normalised advantages
    do not depend on it; logs and pooled baselines do."""
    repetitions: int = 1
    """Episodes per task, for random actors."""
    format_penalty: float = 0.0
    """Subtracted if the reply holds no usable prompt; the old prompt is then replayed."""
    length_penalty: float = 0.0
    """Subtracted per 1,000 characters of the new prompt."""


class RewardedReflection(Record):
    """The reward of a reflection, with the replay that it comes from."""

    reward: float | None
    """None if any of its episodes failed for infrastructure reasons. Leave such a candidate out; do not count a 0."""
    prompt: str
    problem: str = ""
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
        if self.config.on not in ("same", "fresh"):
            raise ConfigError(f"RewardConfig.on must be 'same' or 'fresh', got {self.config.on!r}.")
        if self.config.repetitions < 1:
            raise ConfigError(f"RewardConfig.repetitions must be at least 1, got {self.config.repetitions}.")

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the rewards, beside the environment."""
        return {"kind": "MetaReward", **self.config.model_dump()}

    def __call__(self, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[float | None]:
        """Return one reward per completion; None if an episode failed for infrastructure reasons."""
        return [item.reward for item in self.rewarded(meta_step, completions)]

    def rewarded(self, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[RewardedReflection]:
        """Return the rewards with their replays, in the order of `completions`.

        Raises:
            ConfigError: the meta-step holds no trajectories, or a task that the environment does not know.
        """
        if not meta_step.trajectories:
            raise ConfigError("Expected a meta-step with trajectories, got an empty one: there is nothing to replay.")
        if not completions:
            return []
        replies = [Completion(text=item) if isinstance(item, str) else item for item in completions]
        read = [read_reflection(reply) for reply in replies]
        prompts = [meta_step.prompt if prompt is None else prompt for _, prompt, _ in read]
        baseline = [meta_step.prompt] if self.config.relative else []
        played = self.env.replay([*prompts, *baseline], self._task_ids(meta_step), repetitions=self.config.repetitions)
        before = _mean_score(played[-1]) if baseline else 0.0
        return [
            RewardedReflection(
                reward=self._reward(prompt, problem, replayed, before),
                prompt=prompt,
                problem=problem,
                meta_step=replayed,
            )
            for prompt, (_, _, problem), replayed in zip(prompts, read, played, strict=False)
        ]

    def _reward(self, prompt: str, problem: str, replayed: MetaStep, before: float | None) -> float | None:
        score = _mean_score(replayed)
        if score is None or before is None:
            return None
        penalty = self.config.format_penalty if problem else 0.0
        return score - before - penalty - self.config.length_penalty * len(prompt) / 1_000

    def _task_ids(self, meta_step: MetaStep) -> list[str]:
        tasks = [trajectory.task for trajectory in meta_step.trajectories]
        if self.config.on == "same":
            return list(dict.fromkeys(task.id for task in tasks))
        # The seed is the batch's own ids: every candidate gets the same fresh tasks, at every call.
        rng = np.random.default_rng(derive_seed("fresh reward tasks", *(task.id for task in tasks)))
        families = sorted({task.family for task in tasks})
        known = {task.digest for task in tasks}
        drawn = self.env.task_set.draw(len(tasks), rng=rng, families=families, split=tasks[0].split, exclude=known)
        return [task.id for task in drawn]


def shared_meta_env(env_id: str, options: dict[str, Any]) -> MetaEnv:
    """Return this process's environment for an id and options; it is made at the first call, and never closed.

    For trainers that call a reward function and can pass it no object.
    """
    with _LOCK:
        return _meta_env(env_id, json.dumps(options, sort_keys=True))


_LOCK = threading.Lock()


@functools.cache
def _meta_env(env_id: str, options: str) -> MetaEnv:
    env = make(env_id, **json.loads(options)).unwrapped
    if not isinstance(env, MetaEnv):
        raise ConfigError(f"Expected the id of a meta-environment, got {env_id!r}: `metagym envs` lists them.")
    return env


def _mean_score(meta_step: MetaStep) -> float | None:
    """Return the mean score; None if any episode failed: means over different tasks cannot be ranked in a group."""
    scores = [score for score in meta_step.scores if score is not None]
    return float(np.mean(scores)) if len(scores) == len(meta_step.scores) else None
