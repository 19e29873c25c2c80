"""The demo actor's vocabulary, first half: what it can be told to look for.

| condition | holds where the text shows |
| --- | --- |
| `a closed door is in sight` | a `+` |
| `a monster is in sight`, `a monster is next to you` | a letter; a letter beside the hero |
| `an altar is in sight`, `a sink is in sight` | a `_`; a `#`; or that one was where the hero stands |
| `an item is in sight` | an item's symbol, or "You see here" |
| `the stairs are in sight`, `the stairs are out of sight` | a `>`; none |
| `you hold a key` (`a dagger`, `a potion`, `a ring`, `a robe`, `a scroll`, `a wand`) | it in the inventory |
| `you hold an amulet`, `you hold boots`, `you hold food` | it in the inventory |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from metagym.envs.minihack.demo_scene import ITEMS, Scene, Square, distance

HELD: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "you hold food": ("apple",),
        "you hold a key": ("key",),
        "you hold a dagger": ("dagger",),
        "you hold a potion": ("potion",),
        "you hold a ring": ("ring",),
        "you hold a robe": ("robe",),
        "you hold a scroll": ("scroll",),
        "you hold a wand": ("wand",),
        "you hold an amulet": ("amulet",),
        "you hold boots": ("boots",),
    }
)
"""Conditions on the inventory, and the words that fulfil them."""


@dataclass(frozen=True)
class Situation:
    """What the actor knows at a step: the scene, the answers or commands, and what it remembers."""

    scene: Scene
    available: tuple[str, ...]
    visited: frozenset[Square]
    """Where the hero stood before, by the texts so far."""
    doors: frozenset[Square]
    """Where a closed door was ever seen."""
    spots: frozenset[Square]
    """Where an altar or a sink was ever seen: the hero hides what it stands on."""
    last_command: str

    @property
    def is_asked(self) -> bool:
        """Whether a menu or a question is open."""
        return not any(name.startswith("step ") for name in self.available)


def look(scene: Scene) -> Situation:
    """Return the situation of one who sees a scene for the first time, and knows no actions."""
    return Situation(scene, (), frozenset(), frozenset(), frozenset(), "")


Condition = Callable[[Situation], bool]


def _sees(symbols: str) -> Condition:
    return lambda situation: bool(situation.scene.find(symbols))


def _holds(words: tuple[str, ...]) -> Condition:
    return lambda situation: situation.scene.holds(*words) is not None


def _is_near_monster(situation: Situation) -> bool:
    monsters = situation.scene.monsters()
    return bool(monsters) and distance(monsters[0], situation.scene.hero) == 1


def _sees_item(situation: Situation) -> bool:
    return bool(situation.scene.find(ITEMS)) or "You see here" in situation.scene.message


SPOTS = {"an altar is in sight": "_", "a sink is in sight": "#"}


def _finds_spot(name: str) -> Condition:
    return lambda situation: bool(situation.scene.find(SPOTS[name])) or situation.scene.hero in situation.spots


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "a closed door is in sight": _sees("+"),
        "a monster is in sight": lambda situation: bool(situation.scene.monsters()),
        "a monster is next to you": _is_near_monster,
        "an item is in sight": _sees_item,
        "the stairs are in sight": _sees(">"),
        "the stairs are out of sight": lambda situation: not situation.scene.find(">"),
        **{name: _finds_spot(name) for name in SPOTS},
        **{name: _holds(words) for name, words in HELD.items()},
    }
)
"""Every condition by its words."""
