"""A meta-environment as a task set of verifiers, out: the question is what was played, the answer a prompt.

Written against verifiers 0.4.0. A task shows a meta-step (a prompt and its trajectories) to a model; the reward
of the reply is the mean score of the same tasks replayed under the prompt that it holds. That is one turn, as
in-context training trains a reflector; verifiers' evaluation, GEPA and the trainers that read its task sets then
work on it. A whole meta-episode in one rollout is not offered: verifiers runs the agent in a harness and a
runtime of its own, and an environment cannot hand it the next batch from outside.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import verifiers.v1 as vf

from metagym.env import MetaEnv
from metagym.errors import ConfigError, InfrastructureError
from metagym.registration import make
from metagym.training.experience import EXPERIENCE, chat_messages, read_experience
from metagym.training.reward import MetaReward
from metagym.types import MetaStep

__all__ = ["ReflectionTaskset"]


class ReflectionTaskConfig(vf.TaskConfig):  # type: ignore[misc]
    """Where a reflection is replayed."""

    env_id: str = "MetaGym/Gates-v0"
    """The meta-environment: a registered id, or `package.module:MyMetaEnv`."""
    env_options: dict[str, Any] = {"actor": "demo"}
    """Its options; they must be those that the experience was collected with."""


class ReflectionConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Which experience is reflected upon."""

    task: ReflectionTaskConfig = ReflectionTaskConfig()
    experience: Path = Path(EXPERIENCE)
    """What `metagym train collect` wrote: the folder or its `experience.jsonl`."""


class ReflectionData(vf.TaskData):  # type: ignore[misc]
    """One meta-step to reflect upon."""

    meta_step: dict[str, Any]


class ReflectionTask(vf.Task[ReflectionData, vf.State, ReflectionTaskConfig]):  # type: ignore[misc]
    """Write a better prompt; it is paid by what is played under it."""

    @vf.reward  # type: ignore[untyped-decorator]
    async def mean_score(self, task: ReflectionData, trace: Any) -> float:
        """Return the mean score of the same tasks under the prompt that the reply holds."""
        reward = _reward(self.config.env_id, json.dumps(self.config.env_options, sort_keys=True))
        meta_step = MetaStep.model_validate(task.meta_step)
        reply = str(trace.assistant_messages[-1].content or "")
        (found,) = await asyncio.to_thread(reward.rewarded, meta_step, [reply])
        if found.reward is None:
            raise InfrastructureError("The replay failed, so this reflection has no reward.")
        return float(found.reward)


class ReflectionTaskset(vf.Taskset[ReflectionTask, ReflectionConfig]):  # type: ignore[misc]
    """The meta-steps that `metagym train collect` wrote, as tasks."""

    def load(self) -> Iterator[ReflectionTask]:
        """Yield a task for each meta-step."""
        for item in read_experience(self.config.experience):
            system, *rest = chat_messages(item.meta_step)
            data = ReflectionData(
                id=item.id,
                system_prompt=system["content"],
                prompt="\n\n".join(message["content"] for message in rest),
                meta_step=item.meta_step.model_dump(mode="json"),
            )
            yield ReflectionTask(data, self.config.task)


@cache
def _reward(env_id: str, options: str) -> MetaReward:
    """Return the reward of one environment, which is made once in each process."""
    env = make(env_id, **json.loads(options)).unwrapped
    if not isinstance(env, MetaEnv):
        raise ConfigError(f"{env_id} is no meta-environment.")
    return MetaReward(env)
