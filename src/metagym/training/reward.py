"""MetaReward: what a reflection is worth, by replaying the batch that it reflects upon under its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.reflectors import read_reflection
from metagym.seeding import derive_seed
from metagym.types import Completion, MetaStep, Record


class RewardConfig(Record):
    """How a reflection is rewarded."""

    on: str = "same"
    """`same`: the batch reflected upon (the paper's). `fresh`: as many new tasks of its families and split."""
    relative: bool = False
    """Whether the old prompt's mean score, on the tasks of the reward, is subtracted. With `same` this is the
    recorded score; group-normalised advantages do not change by it, logs and pooled baselines do."""
    repetitions: int = 1
    """Episodes on each task, for actors that are random."""
    format_penalty: float = 0.0
    """Subtracted where the reply held no usable prompt; the old prompt is then what is replayed."""
    length_penalty: float = 0.0
    """Subtracted for each 1,000 characters of the new prompt."""


class RewardedReflection(Record):
    """A reflection's reward, and what it was made of."""

    reward: float | None
    """None where the apparatus failed on any of its episodes: such a candidate is left out, it is no 0."""
    prompt: str
    problem: str = ""
    """Why the reply could not be used, where it could not."""
    meta_step: MetaStep
    """The replay under the prompt."""


class MetaReward:
    """Rewards groups of reflections: text in, parsed, the same batch replayed under it, mean score out.

    A whole group is played in one run of the environment's engine, its episodes side by side; prompts that
    occur twice in a group are played once each all the same, since a random actor may differ. With a
    deterministic actor, equal candidates get equal rewards at every call.

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
        """What decides the rewards, beside the environment."""
        return {"kind": "MetaReward", **self.config.model_dump()}

    def __call__(self, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[float | None]:
        """Return one reward a completion; None where the apparatus failed."""
        return [item.reward for item in self.rewarded(meta_step, completions)]

    def rewarded(self, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[RewardedReflection]:
        """Return the rewards with what they were made of, in the order of `completions`.

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
        # Drawn from the batch's own ids: every candidate, and every call, gets the same fresh tasks.
        rng = np.random.default_rng(derive_seed("fresh reward tasks", *(task.id for task in tasks)))
        families = sorted({task.family for task in tasks})
        known = {task.digest for task in tasks}
        drawn = self.env.task_set.draw(len(tasks), rng=rng, families=families, split=tasks[0].split, exclude=known)
        return [task.id for task in drawn]


def _mean_score(meta_step: MetaStep) -> float | None:
    """Return the mean score; None where any episode failed: a mean over other tasks is no fair rank in a group."""
    scores = [score for score in meta_step.scores if score is not None]
    return float(np.mean(scores)) if len(scores) == len(meta_step.scores) else None
