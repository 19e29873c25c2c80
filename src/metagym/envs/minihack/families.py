"""MiniHack's families: the 122 ids that work, their groups and goals, the paper's split, and 39 refused ids.

It is data only: minihack need not be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from metagym.errors import UnknownNameError
from metagym.tasks import seeds

_SIMPLE_SKILLS = ("Eat", "Pray", "PutOn", "Read", "Sink", "Wear", "Wield", "Zap")
_SIZES = ("5x5", "15x15")


def _ids(*names: str, version: str = "v0") -> tuple[str, ...]:
    return tuple(f"MiniHack-{name}-{version}" for name in names)


def _both(*names: str) -> tuple[str, ...]:
    return _ids(*(f"{name}-{actions}" for name, actions in product(names, ("Full", "Restricted"))))


_ROOM_KINDS = ("", "Random-", "Dark-", "Monster-", "Trap-", "Ultimate-")
_LEVITATE_WAYS = ("", "-Potion-Inv", "-Potion-Pickup", "-Ring-Inv", "-Ring-Pickup")

GROUPS: dict[str, tuple[str, ...]] = {
    "Room": _ids(*(f"Room-{kind}{size}" for kind, size in product(_ROOM_KINDS, _SIZES))),
    "Corridor": _ids("Corridor-R2", "Corridor-R3", "Corridor-R5"),
    "KeyRoom": _ids(*(f"KeyRoom-{kind}" for kind in ("Fixed-S5", "S5", "S15", "Dark-S5", "Dark-S15"))),
    "Door": _ids("ClosedDoor", "LockedDoor", "LockedDoor-Fixed"),
    "MazeWalk": _ids(*(f"MazeWalk-{kind}{size}" for kind in ("", "Mapped-") for size in ("9x9", "15x15", "45x19"))),
    "Labyrinth": _ids("Labyrinth-Big", "Labyrinth-Small"),
    "ExploreMaze": _ids(*(f"ExploreMaze-{kind}" for kind in ("Easy", "Easy-Mapped", "Hard", "Hard-Mapped"))),
    "River": _ids("River", "River-Lava", "River-Monster", "River-MonsterLava", "River-Narrow"),
    "HideNSeek": _ids("HideNSeek", "HideNSeek-Big", "HideNSeek-Lava", "HideNSeek-Mapped"),
    "CorridorBattle": _ids("CorridorBattle", "CorridorBattle-Dark"),
    "Memento": _ids("Memento-F2", "Memento-F4", "Memento-Short-F2"),
    "Sokoban": _ids(*(f"Sokoban{level}{kind}" for level, kind in product("1234", "ab")), version="v1"),
    "Skill": _ids(*(f"{skill}{kind}" for skill, kind in product(_SIMPLE_SKILLS, ("", "-Fixed", "-Distr")))),
    "Levitate": (
        *_both("Levitate-Boots", "Levitate-Potion", "Levitate-Ring"),
        *_ids("Levitate-Boots-Fixed", "Levitate-Potion-Fixed", "Levitate-Ring-Fixed", "Levitate-Random-Full"),
    ),
    "Freeze": _both("Freeze-Horn", "Freeze-Lava", "Freeze-Random", "Freeze-Wand"),
    "LavaCross": _both("LavaCross", *(f"LavaCross-Levitate{way}" for way in _LEVITATE_WAYS)),
    "WoD": _both(*(f"WoD-{kind}" for kind in ("Easy", "Medium", "Hard", "Pro"))),
    "Quest": _ids("Quest-Easy", "Quest-Medium", "Quest-Hard"),
}
"""Shorthand names for several families. Every family is in exactly one group."""

FAMILIES: tuple[str, ...] = tuple(sorted(family for group in GROUPS.values() for family in group))
"""The 122 ids of minihack 1.0.2 that work without further downloads or packages."""

GROUP_OF: dict[str, str] = {family: group for group, members in GROUPS.items() for family in members}

DEFAULT_FAMILIES: tuple[str, ...] = _ids(
    "Room-Random-5x5",
    "Room-Random-15x15",
    "Room-Monster-5x5",
    "Room-Monster-15x15",
    "Room-Trap-15x15",
    "Room-Ultimate-5x5",
)
"""The default families of `MetaGym/MiniHack-v0`: rooms that can be won in 25 steps, each with at least 600 levels."""

INVENTORY_KINDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_both("LavaCross-Levitate-Potion-Inv"), ("potion",)),
    **dict.fromkeys(_both("LavaCross-Levitate-Ring-Inv"), ("ring",)),
}
"""Families whose task is about an item that the hero starts with, and the words that name it in the inventory."""

_FIXED = (*_SIMPLE_SKILLS, "Levitate-Boots", "Levitate-Potion", "Levitate-Ring", "LockedDoor")
FEW_LEVELS: dict[str, int] = {
    **dict.fromkeys(_ids(*(f"{name}-Fixed" for name in _FIXED)), 1),
    **dict.fromkeys(_ids("Room-5x5", "Room-15x15", "Labyrinth-Big", "Labyrinth-Small"), 1),
    **dict.fromkeys((*_both("WoD-Easy", "WoD-Medium"), *_ids("Quest-Medium", "Memento-F4")), 1),
    **dict.fromkeys(_ids("Memento-F2", "Memento-Short-F2"), 2),
    **dict.fromkeys(_both("WoD-Pro"), 8),
    **dict.fromkeys(_ids("CorridorBattle", "CorridorBattle-Dark"), 9),
    **dict(zip(_ids("Sokoban4b", "Sokoban2a", "Sokoban2b", version="v1"), (10, 18, 28), strict=True)),
    **dict(zip(_ids("Sokoban1b", "Sokoban3a", "Sokoban1a", version="v1"), (36, 42, 64), strict=True)),
    **dict(zip(_ids("LockedDoor", "Room-Dark-5x5", "KeyRoom-Dark-S5"), (25, 171, 137), strict=True)),
    "MiniHack-Sokoban3b-v1": 106,
}
"""Families with fewer than 200 levels in all roles together, counted or estimated from 1,000 seeds."""

_MINIGRID = "it is a port of a MiniGrid level and needs the package minigrid, which metagym does not install"
_BOXOBAN = "its levels must be downloaded by a script of minihack first"
_CUSTOM = "it is a template without a level: it needs a des-file"

_MULTI_ROOM_KINDS = {
    "N2": ("", "-Extreme", "-Lava", "-LavaMonsters", "-Locked", "-Monster"),
    "N4": ("", "-Extreme", "-Lava", "-LavaMonsters", "-Locked", "-Monster"),
    "N6": ("", "-Extreme", "-Lava", "-Lava-OpenDoor", "-LavaMonsters", "-Locked", "-Monster", "-OpenDoor"),
    "N10": ("", "-Lava", "-Lava-OpenDoor", "-OpenDoor"),
}

REFUSED: dict[str, str] = {
    **dict.fromkeys(_ids("Boxoban-Hard", "Boxoban-Medium", "Boxoban-Unfiltered"), _BOXOBAN),
    **dict.fromkeys(_ids("Navigation-Custom", "Skill-Custom"), _CUSTOM),
    **dict.fromkeys(
        _ids(
            *(f"LavaCrossingS{kind}" for kind in ("9N1", "9N2", "9N3", "11N5", "19N13", "19N17")),
            *(f"SimpleCrossingS{kind}" for kind in ("9N1", "9N2", "9N3", "11N5")),
            *(f"MultiRoom-{rooms}{kind}" for rooms, kinds in _MULTI_ROOM_KINDS.items() for kind in kinds),
        ),
        _MINIGRID,
    ),
}
"""The 39 other ids that minihack 1.0.2 registers, each with the reason why it is refused."""

_STAIRS = "Reach the stairs down (>)."
_GOALS: dict[str, str] = {
    "KeyRoom": "Reach the stairs down (>) behind the locked door.",
    "River": "Reach the stairs down (>) on the other side of the river.",
    "Memento": "Kill the grid bug.",
    "Sokoban": "Fill all the pits (^) with boulders, then reach the stairs.",
    "Freeze": "Make a bolt of cold bounce off a wall.",
    "Freeze-Lava": _STAIRS,
    "Levitate": "Float in the air.",
    "Skill-Eat": "Eat the apple.",
    "Skill-Pray": "Pray on the altar (_).",
    "Skill-PutOn": "Put on the amulet.",
    "Skill-Read": "Read the scroll.",
    "Skill-Sink": "Drink from the sink (#).",
    "Skill-Wear": "Wear the robe.",
    "Skill-Wield": "Wield the dagger.",
    "Skill-Zap": "Zap the wand.",
    "WoD-Easy": "Kill the minotaur.",
}


def goal_of(family: str) -> str:
    """Return the goal of a family in words, without the id."""
    group, (_, first, second, *_) = GROUP_OF[family], family.split("-")
    keys = (f"{group}-{first}", f"{first}-{second}", group)
    return next((_GOALS[key] for key in keys if key in _GOALS), _STAIRS)


def check_family(name: str) -> str:
    """Return `name` if it is a family."""
    if name in GROUP_OF:
        return name
    if name in REFUSED:
        raise UnknownNameError(
            f"{name!r} cannot be played: {REFUSED[name]}. Choose one of the {len(FAMILIES)} families that work, "
            f"or of the groups {', '.join(GROUPS)}."
        )
    raise UnknownNameError.of("family", name, (*GROUPS, *FAMILIES))


def expand_families(names: Sequence[str]) -> tuple[str, ...]:
    """Return the families in a list of families and groups, each once, in order."""
    if not isinstance(names, str):
        for name in names:
            if name not in GROUPS:
                check_family(name)  # it says why a family is refused
    return seeds.named_families(names, FAMILIES, GROUPS)


PAPER_TRAIN = _ids("Room-Random-5x5", "Room-Monster-5x5", "Room-Trap-5x5", "Eat", "Wear", "Wield", "Pray", "Sink")
PAPER_TEST = _ids("Room-Dark-5x5", "Read", "PutOn", "Zap")
"""The families that a reflector is trained on, and those held out. docs/minihack.md lists the assumptions.

Source: Shalev, Ding, Jamnik 2026, "Training Language Agents to Learn from Experience" (arXiv 2605.20477). metagym does
not claim to reproduce the paper's numbers.
"""
