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
_MISSION_WORDS = ("go", "pick", "open", "put", "ball", "box", "door", "key")
"""The tasks of a mission, and the kinds of objects: together they are the kind of a task."""


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


def mission_kind(mission: str) -> str:
    """Return the kind of a mission within its family: an action and the kinds of its objects, whatever their colour.

    >>> mission_kind("go to the purple box"), mission_kind("put a key next to the red key")
    ('go box', 'put key')
    """
    words = mission.replace(",", "").split()
    return " ".join(word for word in _MISSION_WORDS if word in words)


class BabyAITaskSet(SeededTaskSet):
    """The tasks of BabyAI: a level for each family and seed. Its content decides its role, its mission the kind."""

    def __init__(self) -> None:
        self._levels: dict[str, Any] = {}
        self._started: tuple[str, int] | None = None
        super().__init__(
            families(),
            lambda family, seed: content_of(self._level(family, seed)),
            groups=groups(),
            kind=lambda family, seed: mission_kind(self._level(family, seed).mission),
        )

    def _level(self, family: str, seed: int) -> Any:
        if family not in self._levels:
            self._levels[family] = make_level(family)
        if self._started != (family, seed):
            self._levels[family].reset(seed=seed)
            self._started = (family, seed)
        return self._levels[family]
