"""Actors that wait for a file. They can be imported, so they can be pickled."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from metagym.envs.gates.demo import GatesDemoActor
from metagym.types import Action, Episode


class WaitingActor:
    """Goes east; from the fourth episode on it waits, within the episode, until a file exists."""

    scripted = True

    def __init__(self, mark: str) -> None:
        self.mark = mark

    async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
        """Wait if the episode is held, then act."""
        while steps and episode.task.seed >= 3 and not Path(self.mark).exists():
            await asyncio.sleep(0.02)
        return Action(text="east")


class HoldingActor(GatesDemoActor):
    """Plays as the demo does, but some episodes of the second meta-step wait until a file exists."""

    fingerprint = {"kind": "HoldingActor"}

    async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
        """Wait if the episode is held, then act."""
        while is_held(episode) and len(steps) == 1 and not Path(os.environ["HOLD_UNTIL"]).exists():
            await asyncio.sleep(0.02)
        return await super().act(episode, steps, observation)


def is_held(episode: Episode) -> bool:
    """Whether HoldingActor waits in this episode."""
    return episode.meta_step == 1 and episode.task.seed % 2 == 0
