"""The demo actor's vocabulary, second half: what it can be told to do.

An instruction reads `when <condition>, <skill>`. Every pair may be written; not every pair is wise.

| skill | does |
| --- | --- |
| `walk to it`, `walk to them` | the next step towards what the condition names |
| `fetch it` | walks there and picks it up |
| `attack it`, `flee from it` | a step at, or away from, the nearest monster |
| `explore` | walks to the nearest square whose surroundings are unknown |
| `search`, `wait` | stays where it is |
| `unlock it`, `kick it open` | the key at the door, the foot at the door; walks there first |
| `eat it`, `quaff it`, `read it`, `zap it`, `put it on`, `wear it`, `wield it` | uses the item, answers |
| `pray there`, `drink there` | walks there, prays or drinks, says yes |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from metagym.envs.minihack.demo_conditions import HELD, SPOTS, Situation
from metagym.envs.minihack.demo_scene import (
    FLOOR,
    ITEMS,
    Square,
    direction,
    distance,
    first_step,
    neighbours,
)

Skill = Callable[[Situation, str], str | None]
"""Given a situation and the condition that held, the action; None where the skill has none to offer."""


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
        # What stays blank around a square that the hero stood beside is rock.
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
        # Families without such a command: a step into the wall, or whatever stands first.
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
        # A door that is merely closed opens to a step; one that stays shut says so.
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
