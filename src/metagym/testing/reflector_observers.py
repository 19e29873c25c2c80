"""Observers for `check_reflector`: of model calls, of reflections, and of texts that a reflector must not see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gymnasium

from metagym.envs.gates.env import GatesEnv, GatesTaskSet
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import ContractError
from metagym.extensions import describe, extension_of
from metagym.models import Call, ChatModel
from metagym.reflectors import Reflector, Replay, bind
from metagym.reflectors.scripted_model import Reply, spoil
from metagym.types import Completion, Message, MetaStep, Reflection

CANARY = "yellow canary"
"""A text in every observation of validation and test tasks, and nowhere else."""


class ObservedModel:
    """A chat model that keeps its calls, and spoils its replies from the meta-step `since` on."""

    def __init__(self, model: ChatModel, reply: Reply = "good", *, since: int = 0) -> None:
        self._observed, self._reply, self._since = model, reply, since
        self.scripted: bool = extension_of(model).scripted
        self.fingerprint = describe(model)
        self.calls: list[tuple[list[Message], Call]] = []

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the model's reply, or the spoilt one."""
        self.calls.append((list(messages), call))
        completion = await self._observed.complete(messages, call)
        return spoil(completion, self._reply) if call.meta_step >= self._since else completion

    @property
    def requests(self) -> list[str]:
        """The calls and their messages, in an order that does not depend on which call came first."""
        return sorted(json.dumps([call._asdict(), messages]) for messages, call in self.calls)


class WatchedReflector:
    """A reflector that raises if a text of a validation or test task is in its history or in its reflection."""

    def __init__(self, reflector: Reflector) -> None:
        self.reflector = reflector
        self.fingerprint = describe(reflector)

    def bound_to(self, replay: Replay) -> WatchedReflector:
        """Return an observer of the bound reflector."""
        return WatchedReflector(bind(self.reflector, replay))

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the reflection.

        Raises:
            ContractError: the canary is in it or in the history.
        """
        reflection = await self.reflector.reflect(history)
        seen = [*(meta_step.model_dump_json() for meta_step in history), reflection.model_dump_json()]
        if any(CANARY in text for text in seen):
            raise ContractError(
                "The reflector breaks its contract: it may neither see nor write a text of a validation or test task. "
                "Do not let it play such tasks."
            )
        return reflection


class CanaryEnv(gymnasium.Wrapper[str, str, str, str]):
    """Gates, with a canary in the observations of all validation and test tasks."""

    task_set = GatesTaskSet()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start the task, and look up its role."""
        text, info = self.env.reset(seed=seed, options=options)
        self._is_marked = self.task_set.find((options or {})["task_id"]).split != "train"
        return self._marked(text), info

    def step(self, action: str) -> Any:
        """Try a way at the gate."""
        text, *rest = self.env.step(action)
        return (self._marked(text), *rest)

    def _marked(self, text: str) -> str:
        return f"{text} A {CANARY} sings." if self._is_marked else text


class CanaryGates(GatesMetaEnv):
    """The meta-environment over `CanaryEnv`."""

    @staticmethod
    def make_inner_env() -> Any:
        """Make a Gates environment with the canary."""
        return CanaryEnv(GatesEnv())
