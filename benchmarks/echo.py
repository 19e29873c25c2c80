"""The echo environment: 20 steps, observations of 2,000 characters, 10 actions; and a model that answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium

from metagym.models import Call
from metagym.spaces import TextSpace
from metagym.types import Completion, Episode, Message, Task, Usage

NUM_STEPS, ACTIONS = 20, tuple(f"do thing {number}" for number in range(10))
TEXT = "You see a thing. " * 118  # 2,006 characters
REPLY = Completion(text="Thought: Let me see.\nAction: do thing 3", usage=Usage(prompt_tokens=9, num_calls=1))


class Echo(gymnasium.Env[str, str]):
    """Says the action and the text again, `NUM_STEPS` times."""

    def __init__(self) -> None:
        self.observation_space = TextSpace()
        self.action_space = TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self._count = 0
        return TEXT, {"goal": "Go on.", "available_actions": ACTIONS}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._count += 1
        info = {"goal": "Go on.", "available_actions": ACTIONS, "success": self._count == NUM_STEPS}
        return f"{action}: {TEXT}", 0.0, self._count == NUM_STEPS, False, info


class InstantModel:
    """Answers at once, and books nothing: what a call costs the ledger is measured with the client."""

    keeps_ledger = True

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        return REPLY


def episodes(count: int, *, seed: int = 0) -> list[Episode]:
    """Return `count` episodes, each with a chance of its own."""
    tasks = [Task(id=f"echo/{i}", family="echo", split="train", seed=i) for i in range(count)]
    return [Episode(prompt="Be quick.", task=task, seed=seed * 100_003 + task.seed) for task in tasks]
