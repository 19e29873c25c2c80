"""BabyAI's ids as families, and the level of a task: it follows from family and seed alone."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import gymnasium

from metagym.errors import UnknownNameError
from metagym.imports import require
from metagym.tasks import SeededTaskSet
from metagym.types import digest

DEFAULT_FAMILIES = (
    "BabyAI-GoToRedBall-v0",
    "BabyAI-GoToLocal-v0",
    "BabyAI-PickupLoc-v0",
    "BabyAI-PutNextLocal-v0",
    "BabyAI-OpenDoor-v0",
    "BabyAI-UnlockLocal-v0",
    "BabyAI-GoToSeqS5R2-v0",
    "BabyAI-GoToObjMazeS4R2-v0",
)
"""One family for each kind of mission. Their levels take BabyAI's bot 5 to 15 steps."""
_LEFT_OUT = re.compile(r"Carrying|KeyInBox|Debug")
"""Families that BabyAI's bot cannot play, and those for finding mistakes in BabyAI."""
_SIZE = re.compile(r"(?<=[a-z])[SN]\d.*$")


@cache
def families() -> tuple[str, ...]:
    """Return all families, by name."""
    require("minigrid", extra="babyai")
    found = {name for name in gymnasium.registry if name.startswith("BabyAI-") and not _LEFT_OUT.search(name)}
    return tuple(sorted(found))


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """Return the families of each kind of mission, whatever their size."""
    found: dict[str, list[str]] = {}
    for name in families():
        kind = _SIZE.sub("", name.removeprefix("BabyAI-").rpartition("-v")[0])
        found.setdefault(kind, []).append(name)
    return {kind: tuple(names) for kind, names in found.items()}


def make_level(family: str) -> Any:
    """Make BabyAI's own environment of a family; `reset(seed=...)` makes a level."""
    if family not in families():
        raise UnknownNameError.of("family", family, families())
    from minigrid.envs.babyai.core import roomgrid_level

    vars(roomgrid_level)["print"] = _say_nothing  # it prints each level that it made in vain
    return gymnasium.make(family, disable_env_checker=True).unwrapped


def _say_nothing(*_: object) -> None:
    """Take the place of `print`."""


def content_of(level: Any) -> str:
    """Return the digest of a level that has just been reset: its grid, the agent's place, and the mission."""
    grid = level.grid.encode()
    place = [int(number) for number in (*level.agent_pos, level.agent_dir)]
    return digest([grid.shape, grid.tobytes().hex(), place, level.mission])


class BabyAITaskSet(SeededTaskSet):
    """The tasks of BabyAI: a level for each family and seed. Its content decides its role."""

    def __init__(self) -> None:
        self._levels: dict[str, Any] = {}
        super().__init__(families(), self._content_of_seed, groups=groups())

    def _content_of_seed(self, family: str, seed: int) -> str:
        if family not in self._levels:
            self._levels[family] = make_level(family)
        level = self._levels[family]
        level.reset(seed=seed)
        return content_of(level)
