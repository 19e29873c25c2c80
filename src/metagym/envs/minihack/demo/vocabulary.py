"""The words of the MiniHack demo: an instruction is `when <condition>, <skill>`. docs/minihack.md explains each.

Every pair may be written. Not every pair is wise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from metagym.envs.minihack.demo.scene import (
    FLOOR,
    ITEMS,
    Scene,
    Square,
    direction,
    distance,
    first_step,
    neighbours,
)


@dataclass(frozen=True)
class Situation:
    """What the actor knows at a step: the scene, the available actions, and what it remembers."""

    scene: Scene
    available: tuple[str, ...] = ()
    visited: frozenset[Square] = frozenset()
    """The squares that the hero has visited, as far as the texts show."""
    doors: frozenset[Square] = frozenset()
    """The squares on which a closed door was ever seen."""
    spots: frozenset[Square] = frozenset()
    """The squares on which an altar or a sink was ever seen: the hero hides its own square."""
    last_command: str = ""

    @property
    def is_asked(self) -> bool:
        """Whether a menu or a question is open."""
        return not any(name.startswith("step ") for name in self.available)


Condition = Callable[[Situation], bool]
Skill = Callable[[Situation, str], str | None]
"""Takes a situation and the condition that holds; returns an action, or None if the skill does not apply."""


# Conditions -------------------------------------------------------------------------------------------

HELD: Mapping[str, tuple[str, ...]] = {
    "you hold food": ("apple",),
    "you hold an amulet": ("amulet",),
    "you hold boots": ("boots",),
    **{f"you hold a {item}": (item,) for item in ("key", "dagger", "potion", "ring", "robe", "scroll", "wand")},
}
"""Conditions on the inventory, and the words that an item's description must contain."""
SPOTS = {"an altar is in sight": "_", "a sink is in sight": "#"}


def _sees(symbols: str) -> Condition:
    return lambda situation: bool(situation.scene.find(symbols))


def _holds(words: tuple[str, ...]) -> Condition:
    return lambda situation: situation.scene.holds(*words) is not None


def _is_near_monster(situation: Situation) -> bool:
    monsters = situation.scene.monsters()
    return bool(monsters) and distance(monsters[0], situation.scene.hero) == 1


def _sees_item(situation: Situation) -> bool:
    return bool(situation.scene.find(ITEMS)) or "You see here" in situation.scene.message


def _sees_spot(name: str) -> Condition:
    return lambda situation: bool(situation.scene.find(SPOTS[name])) or situation.scene.hero in situation.spots


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "a closed door is in sight": _sees("+"),
        "a monster is in sight": lambda situation: bool(situation.scene.monsters()),
        "a monster is next to you": _is_near_monster,
        "an item is in sight": _sees_item,
        "the stairs are in sight": _sees(">"),
        "the stairs are out of sight": lambda situation: not situation.scene.find(">"),
        **{name: _sees_spot(name) for name in SPOTS},
        **{name: _holds(words) for name, words in HELD.items()},
    }
)
"""Every condition by its words."""


# Skills -----------------------------------------------------------------------------------------------


def _targets(situation: Situation, condition: str) -> list[Square]:
    scene = situation.scene
    if "monster" in condition:
        return scene.monsters()
    if condition in SPOTS:
        return scene.find(SPOTS[condition])
    symbols = {"a closed door is in sight": "+", "an item is in sight": ITEMS}.get(condition, ">")
    return scene.find(symbols)


def _walk(situation: Situation, condition: str) -> str | None:
    goals = frozenset(_targets(situation, condition))
    name = first_step(situation.scene, goals.__contains__, situation.doors)
    return f"step {name}" if name else None


def _fetch(situation: Situation, condition: str) -> str | None:
    if situation.is_asked:
        return _answer(situation, "select all", "select a", "confirm")
    if "You see here" in situation.scene.message and situation.last_command != "pick up":
        return "pick up"
    return _walk(situation, "an item is in sight")


def _attack(situation: Situation, condition: str) -> str | None:
    monsters = situation.scene.monsters()
    towards = direction(situation.scene.hero, monsters[0]) if monsters else None
    return f"step {towards}" if towards else _walk(situation, "a monster is in sight")


def _flee(situation: Situation, condition: str) -> str | None:
    monsters, scene = situation.scene.monsters(), situation.scene
    if not monsters:
        return None
    around = [square for square in neighbours(scene.hero) if scene.squares.get(square, " ") in ".<"]
    away = max(around, key=lambda square: (distance(square, monsters[0]), square), default=None)
    towards = direction(scene.hero, away) if away else None
    return f"step {towards}" if towards else None


def _explore(situation: Situation, condition: str) -> str | None:
    scene, visited = situation.scene, situation.visited | {situation.scene.hero}

    def is_frontier(square: Square) -> bool:
        # A square beside the hero that stays blank is rock.
        is_open = scene.squares.get(square, " ") in FLOOR or square in situation.doors
        return (
            is_open
            and square not in visited
            and any(
                there not in scene.squares and not any(distance(there, been) <= 1 for been in visited)
                for there in neighbours(square)
            )
        )

    name = first_step(scene, is_frontier, situation.doors)
    return f"step {name}" if name else None


def _stay(*names: str) -> Skill:
    def stay(situation: Situation, condition: str) -> str | None:
        # Some families have no such command: then step into a wall.
        return next((name for name in names if name in situation.available), _into_wall(situation))

    return stay


def _into_wall(situation: Situation) -> str | None:
    scene = situation.scene
    blocked = (there for there in neighbours(scene.hero) if scene.squares.get(there, " ") in " |-")
    towards = next((direction(scene.hero, there) for there in blocked), None)
    return f"step {towards}" if towards and not situation.is_asked else None


def _use(command: str) -> Skill:
    def use(situation: Situation, condition: str) -> str | None:
        if not situation.is_asked:
            return command
        letter = situation.scene.holds(*HELD.get(condition, ()))
        return _answer(situation, f"item {letter}", "yes", "direction e", "answer r")

    return use


def _at_door(command: str, *answers: str) -> Skill:
    def at_door(situation: Situation, condition: str) -> str | None:
        scene = situation.scene
        beside = [direction(scene.hero, door) for door in scene.find("+")]
        towards = next((name for name in beside if name in ("n", "e", "s", "w")), None)
        if situation.is_asked:
            key = scene.holds("key")
            return _answer(situation, f"item {key}", f"direction {towards}", *answers)
        if towards is None:
            return _walk(situation, "a closed door is in sight")
        # A closed door opens at a step towards it. For a locked door NetHack shows a message instead.
        is_shut = any(words in scene.message for words in ("is locked", "WHAMM", "fail to", "give up"))
        return command if is_shut else f"step {towards}"

    return at_door


def _on_spot(command: str) -> Skill:
    def on_spot(situation: Situation, condition: str) -> str | None:
        if situation.is_asked:
            return _answer(situation, "yes")
        if situation.scene.hero in situation.spots:
            return command
        return _walk(situation, condition)

    return on_spot


def _answer(situation: Situation, *wanted: str) -> str | None:
    return next((name for name in wanted if name in situation.available), None)


SKILLS: Mapping[str, Skill] = MappingProxyType(
    {
        "attack it": _attack,
        "drink there": _on_spot("quaff"),
        "eat it": _use("eat"),
        "explore": _explore,
        "fetch it": _fetch,
        "flee from it": _flee,
        "kick it open": _at_door("kick"),
        "pray there": _on_spot("pray"),
        "quaff it": _use("quaff"),
        "put it on": _use("put on"),
        "read it": _use("read"),
        "search": _stay("search"),
        "unlock it": _at_door("apply", "yes"),
        "wait": _stay("wait", "search"),
        "walk to it": _walk,
        "walk to them": _walk,
        "wear it": _use("wear"),
        "wield it": _use("wield"),
        "zap it": _use("zap"),
    }
)
"""Every skill by its words."""
