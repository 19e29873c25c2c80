"""A corridor that fails as its task id says, and an actor of random latency. Both can be pickled."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np

from metagym.errors import ModelError
from metagym.types import Action, Episode, Task
from tests.conftest import CorridorEnv

FAULTS = ("none", "raises once", "raises", "dies once", "model fails")


class FaultyCorridor(CorridorEnv):
    """Fails at every fifth command; `once` means until a file in the folder of the task id marks the failure."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin, and read the fault from the task's id."""
        assert options is not None
        self._number, self._fault, folder = options["task_id"].split(":", 2)
        self._folder = Path(folder)
        return super().reset(seed=seed, options=options)

    def step(self, action: str) -> Any:
        """Move, or fail."""
        if len(self.commands) % 5 == 2:
            self._fail()
        return super().step(action)

    def _fail(self) -> None:
        mark = self._folder / f"{self._number} {self._fault}"
        if self._fault == "raises" or (self._fault.endswith("once") and not mark.exists()):
            mark.touch()
            if self._fault == "dies once" and multiprocessing.parent_process() is not None:
                os._exit(7)
            raise OSError(f"{self._fault} as asked")


class LatentActor:
    """Takes some milliseconds for each action, sometimes moves the wrong way, and fails if the task id says so."""

    scripted = True

    def __init__(self, seed: int, most_ms: float) -> None:
        self.seed, self.most_ms = seed, most_ms

    async def act(self, episode: Episode, steps: Any, observation: Any) -> Action:
        """Wait, and choose the action by the episode's seed alone."""
        await asyncio.sleep(self.most_ms / 1e3 * np.random.default_rng((self.seed, episode.seed, len(steps))).random())
        if ":model fails:" in episode.task.id and len(steps) == 1:
            raise ModelError("no reply")
        chance = np.random.default_rng((episode.seed, len(steps))).random()
        return Action(text="east" if chance < 0.7 else "west" if chance < 0.9 else "fly")


def episodes(faults: list[str], folder: Path) -> list[Episode]:
    """Return one episode for each fault."""
    return [
        Episode(prompt="p", task=Task(id=f"{n}:{fault}:{folder}", family="c", split="train", seed=n), seed=n)
        for n, fault in enumerate(faults)
    ]
