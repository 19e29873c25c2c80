"""An actor that takes its time, and episodes for it. Importable, so picklable."""

from __future__ import annotations

import asyncio
from typing import Any

from metagym.types import Action, Episode
from tests.conftest import make_episode, make_task


class SlowActor:
    """Goes east, after a twentieth of a second."""

    scripted = True

    async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
        """Wait, and go on."""
        await asyncio.sleep(0.05)
        return Action(text="east")


def episodes(count: int) -> list[Episode]:
    """Return episodes of two to eight fields."""
    return [make_episode(task=make_task(f"corridor/{n}", seed=n), seed=n) for n in range(count)]
