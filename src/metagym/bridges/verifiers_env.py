"""A meta-episode as an environment of verifiers: one rollout, in which each turn of the model is a reflection.

Written for verifiers 0.4.0, for its `vf-eval` and the trainers that read its environments (prime-rl, Tinker). Their id
for it is `metagym-verifiers`, the package that exports it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import verifiers.v1 as vf

from metagym.reflectors.ict import REFLECTOR_PROMPT
from metagym.registration import make
from metagym.training.meta_episode_env import MetaEpisodeConfig, MetaEpisodeEnv

__all__ = ["MetaEpisodeTaskset", "MetaEpisodeVerifiersEnv"]


class MetaEpisodeData(vf.TaskData):  # type: ignore[misc]
    """The seed of a meta-episode: it decides the tasks."""

    seed: int


class MetaEpisodeTask(vf.Task[MetaEpisodeData, vf.State, vf.TaskConfig]):  # type: ignore[misc]
    """One meta-episode. Its rewards come from the environment, as turns are played."""


class MetaEpisodesConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Which meta-episodes there are."""

    num_episodes: int = 1000
    first_seed: int = 0


class MetaEpisodeTaskset(vf.Taskset[MetaEpisodeTask, MetaEpisodesConfig]):  # type: ignore[misc]
    """Meta-episodes by their seeds."""

    def load(self) -> Iterator[MetaEpisodeTask]:
        """Yield a task for each seed."""
        for number in range(self.config.num_episodes):
            seed = self.config.first_seed + number
            data = MetaEpisodeData(idx=number, prompt=None, system_prompt=REFLECTOR_PROMPT, seed=seed)
            yield MetaEpisodeTask(data, self.config.task)


class MetaEpisodeVerifiersConfig(vf.EnvConfig):  # type: ignore[misc]
    """The meta-environment, and the model that reflects."""

    reflector: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"}, runtime={"type": "subprocess"})
    meta_env: str = "MetaGym/Gates-v0"
    """A registered id, or `package.module:MyMetaEnv`."""
    options: dict[str, Any] = {"actor": "demo"}
    """The options of `gym.make`, with the actor, which stays as it is."""
    meta_episode: MetaEpisodeConfig = MetaEpisodeConfig()
    """Turns and reward."""


class MetaEpisodeVerifiersEnv(vf.Env[MetaEpisodeVerifiersConfig]):  # type: ignore[misc]
    """Plays the batches of a meta-episode between the turns of the model that reflects on them."""

    async def run(self, task: MetaEpisodeTask, agents: Any) -> None:
        """Play one meta-episode: show a batch, take the reflection, and play the next batch under its prompt."""
        config = self.config
        # MetaEnv is synchronous: it plays in another thread, while verifiers serves the model's calls in this one.
        with closing(await asyncio.to_thread(make, config.meta_env, **config.options)) as env:
            rollout = MetaEpisodeEnv(env, config.meta_episode)
            *_, shown = await asyncio.to_thread(rollout.reset, seed=task.data.seed)
            async with agents.reflector.interaction(task) as talk:
                while True:
                    segment = await talk.turn(shown["content"])
                    if segment.terminated:  # the turns that are left count as turns without a usable reply
                        await asyncio.to_thread(rollout.finish)
                        break
                    answer = await asyncio.to_thread(rollout.step, segment.last_reply)
                    if answer.message is None:
                        break
                    shown = answer.message
                for number, reward in enumerate(rollout.rewards):
                    talk.trace.record_metric(f"turn_{number}", reward)
                talk.trace.record_reward("meta_episode", sum(rollout.rewards))
