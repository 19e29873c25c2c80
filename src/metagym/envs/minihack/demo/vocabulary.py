"""The words of the MiniHack demo: an instruction is `when <condition>, <skill>`. docs/minihack.md explains each.

Every pair may be written. Not every pair is wise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from metagym.envs.minihack.demo.scene import FLOOR, ITEMS, Scene, Square, direction, distance, first_step, neighbours


@dataclass(frozen=True)
class Situation:
    """The actor's knowledge at a step: the scene, the available actions, and its memory."""

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

    def first_of(self, *names: str) -> str | None:
        """Return the first of the names that is an available action; None if there is no such name."""
        return next((name for name in names if name in self.available), None)


Condition = Callable[[Situation], bool]
Skill = Callable[[Situation, str], str | None]
"""Takes a situation and the condition that holds; returns an action, or None if the skill does not apply."""


HELD: Mapping[str, tuple[str, ...]] = {
    "you hold food": ("apple",),
    "you hold an amulet": ("amulet",),
    "you hold boots": ("boots",),
    **{f"you hold a {item}": (item,) for item in ("key", "dagger", "potion", "ring", "robe", "scroll", "wand")},
}
"""Conditions on the inventory, and the words that an item's description must contain."""
SPOTS = {"an altar is in sight": "_", "a sink is in sight": "#"}


def _sees(symbols: str, situation: Situation) -> bool:
    return bool(situation.scene.find(symbols))


def _sees_item(situation: Situation) -> bool:
    return bool(situation.scene.find(ITEMS)) or "You see here" in situation.scene.message


def _sees_spot(symbol: str, situation: Situation) -> bool:
    return _sees(symbol, situation) or situation.scene.hero in situation.spots


def _is_near_monster(situation: Situation) -> bool:
    monsters = situation.scene.monsters()
    return bool(monsters) and distance(monsters[0], situation.scene.hero) == 1


def _holds(words: tuple[str, ...], situation: Situation) -> bool:
    return situation.scene.holds(*words) is not None


CONDITIONS: Mapping[str, Condition] = {
    "a closed door is in sight": partial(_sees, "+"),
    "a monster is in sight": lambda situation: bool(situation.scene.monsters()),
    "a monster is next to you": _is_near_monster,
    "an item is in sight": _sees_item,
    "the stairs are in sight": partial(_sees, ">"),
    "the stairs are out of sight": lambda situation: not _sees(">", situation),
    **{name: partial(_sees_spot, symbol) for name, symbol in SPOTS.items()},
    **{name: partial(_holds, words) for name, words in HELD.items()},
}
"""Every condition by its words."""


def _walk(situation: Situation, condition: str) -> str | None:
    scene = situation.scene
    symbols = {"a closed door is in sight": "+", "an item is in sight": ITEMS, **SPOTS}.get(condition, ">")
    goals = frozenset(scene.monsters() if "monster" in condition else scene.find(symbols))
    return first_step(scene, goals.__contains__, situation.doors)


def _fetch(situation: Situation, condition: str) -> str | None:
    if situation.is_asked:
        return situation.first_of("select all", "select a", "confirm")
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

    return first_step(scene, is_frontier, situation.doors)


def _stay(situation: Situation, condition: str, *, names: tuple[str, ...]) -> str | None:
    # Some families have no such command: then step into a wall.
    scene = situation.scene
    walls = [there for there in neighbours(scene.hero) if scene.squares.get(there, " ") in " |-"]
    into_wall = f"step {direction(scene.hero, walls[0])}" if walls and not situation.is_asked else None
    return situation.first_of(*names) or into_wall


def _use(situation: Situation, condition: str, *, command: str) -> str | None:
    if not situation.is_asked:
        return command
    letter = situation.scene.holds(*HELD.get(condition, ()))
    return situation.first_of(f"item {letter}", "yes", "direction e", "answer r")


def _at_door(situation: Situation, condition: str, *, command: str, answers: tuple[str, ...] = ()) -> str | None:
    scene = situation.scene
    beside = [direction(scene.hero, door) for door in scene.find("+")]
    towards = next((name for name in beside if name in ("n", "e", "s", "w")), None)
    if situation.is_asked:
        return situation.first_of(f"item {scene.holds('key')}", f"direction {towards}", *answers)
    if towards is None:
        return _walk(situation, "a closed door is in sight")
    # A closed door opens at a step towards it. For a locked door NetHack shows a message instead.
    is_shut = any(words in scene.message for words in ("is locked", "WHAMM", "fail to", "give up"))
    return command if is_shut else f"step {towards}"


def _on_spot(situation: Situation, condition: str, *, command: str) -> str | None:
    if situation.is_asked:
        return situation.first_of("yes")
    return command if situation.scene.hero in situation.spots else _walk(situation, condition)


SKILLS: Mapping[str, Skill] = {
    "attack it": _attack,
    "drink there": partial(_on_spot, command="quaff"),
    "eat it": partial(_use, command="eat"),
    "explore": _explore,
    "fetch it": _fetch,
    "flee from it": _flee,
    "kick it open": partial(_at_door, command="kick"),
    "pray there": partial(_on_spot, command="pray"),
    "quaff it": partial(_use, command="quaff"),
    "put it on": partial(_use, command="put on"),
    "read it": partial(_use, command="read"),
    "search": partial(_stay, names=("search",)),
    "unlock it": partial(_at_door, command="apply", answers=("yes",)),
    "wait": partial(_stay, names=("wait", "search")),
    "walk to it": _walk,
    "walk to them": _walk,
    "wear it": partial(_use, command="wear"),
    "wield it": partial(_use, command="wield"),
    "zap it": partial(_use, command="zap"),
}
"""Every skill by its words."""
