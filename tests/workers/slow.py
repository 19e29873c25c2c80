"""An actor that takes its time, and episodes for it. Importable, so picklable."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from metagym.types import Action, Episode
from tests.conftest import make_episode, make_task


class WaitingActor:
    """Goes east; from the fourth episode on it waits, within the episode, for a file to be there."""

    scripted = True

    def __init__(self, mark: str) -> None:
        self.mark = mark

    async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
        """Wait where that is due, and go on."""
        while steps and episode.task.seed >= 3 and not Path(self.mark).exists():
            await asyncio.sleep(0.02)
        return Action(text="east")


def episodes(count: int) -> list[Episode]:
    """Return episodes in corridors of two to eight fields."""
    return [make_episode(task=make_task(f"corridor/{n}", seed=n), seed=n) for n in range(count)]
