"""A meta-environment as a task set of verifiers: the question is a meta-step, the answer a new prompt.

Written for verifiers 0.4.0. A task is one turn, as in the training of a reflector, so verifiers' evaluation, GEPA and
trainers that read its task sets can use it. `verifiers_env` makes a complete meta-episode one rollout.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import verifiers.v1 as vf

from metagym.training.experience import EXPERIENCE, chat_messages, read_experience
from metagym.training.reward import reward_reply

__all__ = ["ReflectionTaskset"]


class ReflectionTaskConfig(vf.TaskConfig):  # type: ignore[misc]
    """The environment in which a reflection is replayed."""

    env_id: str = "MetaGym/Gates-v0"
    """The meta-environment: a registered id, or `package.module:MyMetaEnv`."""
    env_options: dict[str, Any] = {"actor": "demo"}
    """Its options; they must be those with which the experience was collected."""


class ReflectionConfig(vf.TasksetConfig):  # type: ignore[misc]
    """The experience to reflect on."""

    task: ReflectionTaskConfig = ReflectionTaskConfig()
    experience: Path = Path(EXPERIENCE)
    """The folder that `metagym train collect` wrote, or its `experience.jsonl`."""


class ReflectionData(vf.TaskData):  # type: ignore[misc]
    """One meta-step to reflect on."""

    meta_step: dict[str, Any]


class ReflectionTask(vf.Task[ReflectionData, vf.State, ReflectionTaskConfig]):  # type: ignore[misc]
    """Show a meta-step to a model, which writes a better prompt."""

    @vf.reward  # type: ignore[untyped-decorator]
    async def mean_score(self, task: ReflectionData, trace: Any) -> float:
        """Return the mean score of the same tasks, replayed under the prompt in the reply."""
        reply = str(trace.assistant_messages[-1].content or "")
        return (await reward_reply(self.config.env_id, self.config.env_options, task.meta_step, reply))[0]


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
