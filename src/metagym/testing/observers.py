"""Observers for the check of reflectors: of the model, of the reflector, and of tasks that nobody may see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gymnasium

from metagym.envs.gates.env import GatesEnv
from metagym.envs.gates.laws import GatesTaskSet
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import ContractError
from metagym.extensions import extension_of
from metagym.models import Call, ChatModel
from metagym.reflectors import Reflector, Replay, bind
from metagym.reflectors.scripted_model import Reply, spoil
from metagym.seeding import describe
from metagym.types import Completion, Message, MetaStep, Reflection

CANARY = "yellow canary"
"""Stands in every observation of validation and test tasks, and nowhere else."""


class ObservedModel:
    """The model under observation: keeps what it was asked, and spoils replies from a meta-step on."""

    def __init__(self, model: ChatModel, reply: Reply = "good", *, since: int = 0) -> None:
        self._observed, self._reply, self._since = model, reply, since
        self.scripted: bool = extension_of(model).scripted
        self.fingerprint = describe(model)
        self.calls: list[tuple[list[Message], Call]] = []

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the model's reply, spoilt where it is to be."""
        self.calls.append((list(messages), call))
        completion = await self._observed.complete(messages, call)
        return spoil(completion, self._reply) if call.meta_step >= self._since else completion

    @property
    def asked(self) -> list[str]:
        """What was asked, in an order that does not depend on which call came first."""
        return sorted(json.dumps([call._asdict(), messages]) for messages, call in self.calls)


class WatchedReflector:
    """The reflector under observation: no text of a task that measures may be in what it sees or writes."""

    def __init__(self, reflector: Reflector) -> None:
        self.reflector = reflector
        self.fingerprint = describe(reflector)

    def bound_to(self, replay: Replay) -> WatchedReflector:
        """Return this observer, of the bound reflector."""
        return WatchedReflector(bind(self.reflector, replay))

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the reflection, where no canary is in it or in the history.

        Raises:
            ContractError: one is.
        """
        reflection = await self.reflector.reflect(history)
        seen = [*(meta_step.model_dump_json() for meta_step in history), reflection.model_dump_json()]
        if any(CANARY in text for text in seen):
            raise ContractError(
                "The reflector breaks its contract: it may see and write no text of a validation or test task. Let it "
                "play none."
            )
        return reflection


class CanaryEnv(gymnasium.Wrapper[str, str, str, str]):
    """Gates, with a canary in the observations of all tasks that measure."""

    task_set = GatesTaskSet()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start the task; see whether it measures."""
        text, info = self.env.reset(seed=seed, options=options)
        self._measures = self.task_set.find((options or {})["task_id"]).split != "train"
        return self._marked(text), info

    def step(self, action: str) -> Any:
        """Try a way at the gate."""
        text, *rest = self.env.step(action)
        return (self._marked(text), *rest)

    def _marked(self, text: str) -> str:
        return f"{text} A {CANARY} sings." if self._measures else text


class CanaryGates(GatesMetaEnv):
    """The meta-environment over them."""

    @staticmethod
    def make_inner_env() -> Any:
        """Make the road with its canary."""
        return CanaryEnv(GatesEnv())
