"""Actors that wait for a file, and episodes for them. Importable, so picklable."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from metagym.envs.gates.demo import GatesDemoActor
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


class HoldingActor(GatesDemoActor):
    """Plays as the demo does, but some episodes of the second meta-step wait until a file is there."""

    fingerprint = {"kind": "HoldingActor"}

    async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
        """Wait where that is due, and go on."""
        while is_held(episode) and len(steps) == 1 and not Path(os.environ["HOLD_UNTIL"]).exists():
            await asyncio.sleep(0.02)
        return await super().act(episode, steps, observation)


def is_held(episode: Episode) -> bool:
    """Whether HoldingActor waits in this episode."""
    return episode.meta_step == 1 and episode.task.seed % 2 == 0
