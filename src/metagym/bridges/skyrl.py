"""A meta-episode as an environment of SkyRL: each action of the model is a reflection. Written for skyrl-gym 0.4.0.

`register_meta_episodes()` registers it as `metagym`, which rows of a data set then name as their `env_class`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput
from skyrl_gym.envs.registration import register, registry

from metagym.registration import make
from metagym.training.meta_episode_env import MetaEpisodeConfig, MetaEpisodeEnv
from metagym.types import Message

ENV_CLASS = "metagym"


class SkyRLMetaEpisode(BaseTextEnv):  # type: ignore[misc]
    """Plays the batches of a meta-episode between the actions of the model.

    `extras` come from the row: `seed`, and if wanted `meta_env` (an id), `options` (of `gym.make`) and `meta_episode`
    (the fields of `MetaEpisodeConfig`). The conversation is ours: the prompt of the row is not used.
    """

    def __init__(self, env_config: Any = None, extras: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        extras = extras or {}
        self._seed = int(extras["seed"])
        self._env = make(extras.get("meta_env", "MetaGym/Gates-v0"), **extras.get("options", {"actor": "demo"}))
        self._rollout = MetaEpisodeEnv(self._env, MetaEpisodeConfig(**extras.get("meta_episode", {})))
        self.max_turns = self._rollout.config.num_turns
        self._sent = 0.0
        """The rewards of the steps so far."""

    def init(self, prompt: Any) -> tuple[list[Message], dict[str, Any]]:
        """Play the first batch, and return the conversation that shows it."""
        self._sent = 0.0
        return self._rollout.reset(seed=self._seed), {}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Play the next batch under the prompt in the model's reply; the rewards add up to the whole's value."""
        answer = self._rollout.step(action)
        self.turns += 1
        # A test scores all turns at the end: the last step has what the steps before could not know.
        reward = sum(self._rollout.rewards) - self._sent if answer.done else answer.reward
        self._sent += reward
        return BaseTextEnvStepOutput(
            observations=[] if answer.message is None else [answer.message],
            reward=reward,
            done=answer.done,
            metadata={"problem": answer.problem},
        )

    def get_metrics(self) -> dict[str, float]:
        """Return the reward of each turn."""
        return {f"turn_{number}": reward for number, reward in enumerate(self._rollout.rewards)}

    def close(self) -> None:
        """Close the meta-environment."""
        self._env.close()


def register_meta_episodes() -> None:
    """Register the environment in this process, once."""
    if ENV_CLASS not in registry:
        register(id=ENV_CLASS, entry_point=f"{__name__}:{SkyRLMetaEpisode.__name__}")
