"""A meta-episode served by OpenEnv: each action of the client is a reflection. Written for openenv 0.10.0.

    METAGYM_ENV=MetaGym/Gates-v0 METAGYM_OPTIONS='{"actor": "demo"}' uvicorn metagym.bridges.openenv:app

The index of a task is the seed of its meta-episode (`reset(split="train", index=12)`), as in OpenEnv's Task API. Then
no client depends on `seed`, which other environments may ignore (issue 1102 of OpenEnv).
"""

from __future__ import annotations

import json
import os
from typing import Any

from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State

from metagym.errors import ConfigError
from metagym.registration import make
from metagym.training.meta_episode_env import MetaEpisodeConfig, MetaEpisodeEnv

SPLIT, NUM_TASKS = "train", 2**31


class ReflectionAction(Action):  # type: ignore[misc]
    """The model's reply, with the next prompt in it."""

    reply: str


class ConversationObservation(Observation):  # type: ignore[misc]
    """The messages that are new: at the start the whole conversation, then the next batch."""

    messages: list[dict[str, str]] = []
    problem: str = ""
    """Why the reply held no usable prompt; empty if it did."""
    rewards: list[float] = []
    """The reward of each turn so far; after the last turn all are final."""


class ServedMetaEpisode(Environment[ReflectionAction, ConversationObservation, State]):  # type: ignore[misc]
    """One meta-episode at a time; the server makes one for each session."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, meta_env: str, options: dict[str, Any], config: MetaEpisodeConfig) -> None:
        super().__init__()
        self._env = make(meta_env, **options)
        self._rollout = MetaEpisodeEnv(self._env, config)
        self._state = State(step_count=0)

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        split: str = SPLIT,
        index: int | None = None,
        **_: Any,
    ) -> ConversationObservation:
        """Play the first batch of the meta-episode number `index`."""
        number = index if index is not None else seed
        if split != SPLIT or number is None:
            raise ConfigError(f"Expected reset(split={SPLIT!r}, index=N), got split={split!r}, index={index!r}.")
        self._state = State(episode_id=episode_id or str(number), step_count=0)
        return ConversationObservation(messages=[{**message} for message in self._rollout.reset(seed=number)])

    def step(self, action: ReflectionAction, timeout_s: float | None = None, **_: Any) -> ConversationObservation:
        """Play the next batch under the prompt in the reply."""
        answer = self._rollout.step(action.reply)
        self._state.step_count += 1
        return ConversationObservation(
            messages=[] if answer.message is None else [{**answer.message}],
            problem=answer.problem,
            reward=answer.reward,
            done=answer.done,
            rewards=self._rollout.rewards,
        )

    @property
    def state(self) -> State:
        """The episode and the number of turns taken."""
        return self._state

    def list_splits(self) -> list[str]:
        """Return the one split: meta-episodes by their seeds."""
        return [SPLIT]

    def num_tasks(self, split: str) -> int:
        """Return the number of seeds."""
        return NUM_TASKS

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """Return the task of an index."""
        if not 0 <= index < NUM_TASKS:
            raise IndexError(f"expected an index below {NUM_TASKS}, got {index}")
        return {"id": f"{split}-{index}", "index": index}

    def close(self) -> None:
        """Close the meta-environment."""
        self._env.close()


def make_app(meta_env: str, options: dict[str, Any], config: MetaEpisodeConfig | None = None, **server: Any) -> Any:
    """Return the FastAPI application that serves meta-episodes."""

    def make_session() -> ServedMetaEpisode:
        return ServedMetaEpisode(meta_env, options, config or MetaEpisodeConfig())

    return create_fastapi_app(make_session, ReflectionAction, ConversationObservation, env_name=ENV_NAME, **server)


ENV_NAME = "metagym"


def __getattr__(name: str) -> Any:
    if name != "app":  # made when a server asks for it
        raise AttributeError(name)
    config = MetaEpisodeConfig.model_validate_json(os.environ.get("METAGYM_META_EPISODE", "{}"))
    options = json.loads(os.environ.get("METAGYM_OPTIONS", '{"actor": "demo"}'))
    return make_app(os.environ.get("METAGYM_ENV", "MetaGym/Gates-v0"), options, config)
