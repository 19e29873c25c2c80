"""Batches of won and lost episodes, and a loop that reflects on one batch after another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from metagym.testing import FakeChatModel
from metagym.types import MetaStep, Reflection, Trajectory
from tests.conftest import make_meta_step, make_step, make_trajectory


def won(text: str = "You see a door.", **fields: Any) -> Trajectory:
    return make_trajectory([make_step(text)], **fields)


def lost(text: str = "You see a wall.", **fields: Any) -> Trajectory:
    return make_trajectory([make_step(text)], **{"success": False, "score": 0.0, **fields})


def reflect_on(reflector: Any, *batches: Sequence[Trajectory], rewards: Sequence[float] = ()) -> list[Reflection]:
    """Return the reflections on the batches, made one after another as in a loop."""
    history: list[MetaStep] = []
    reflections: list[Reflection] = []
    for index, batch in enumerate(batches):
        before = reflections[-1] if reflections else None
        prompt = before.prompt if before else "Be brave."
        reward = rewards[index] if rewards else 0.0
        history.append(make_meta_step(batch, index=index, prompt=prompt, reflection=before, reward=reward))
        reflections.append(asyncio.run(reflector.reflect(history)))
    return reflections


def asked(model: FakeChatModel, call: int = -1) -> str:
    return model.calls[call][0][1]["content"]
