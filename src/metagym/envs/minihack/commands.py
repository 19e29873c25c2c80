"""The names of the actions and their keys. Menus and questions are in `questions.py`."""

from __future__ import annotations

from collections.abc import Iterable

ESCAPE, ENTER, SPACE = 27, 13, ord(" ")

DIRECTIONS: dict[str, int] = {
    "n": ord("k"),
    "e": ord("l"),
    "s": ord("j"),
    "w": ord("h"),
    "ne": ord("u"),
    "se": ord("n"),
    "sw": ord("b"),
    "nw": ord("y"),
}
"""Compass directions and NetHack's keys for them. The capital letter of a key runs."""

OFFSETS: dict[str, tuple[int, int]] = {
    "n": (-1, 0),
    "e": (0, 1),
    "s": (1, 0),
    "w": (0, -1),
    "ne": (-1, 1),
    "se": (1, 1),
    "sw": (1, -1),
    "nw": (-1, -1),
}
"""The change of row and column in each direction."""


def _meta(letter: str) -> int:
    return 0x80 | ord(letter)


def _control(letter: str) -> int:
    return 0x1F & ord(letter)


_STEPS = {f"step {name}": key for name, key in DIRECTIONS.items()}
_RUNS = {f"run {name}": key - 32 for name, key in DIRECTIONS.items()}
_PLAIN = {
    "go down": ord(">"),
    "wait": ord("."),
    "adjust": _meta("a"),
    "apply": ord("a"),
    "attributes": _control("x"),
    "call": ord("C"),
    "cast": ord("Z"),
    "chat": _meta("c"),
    "close": ord("c"),
    "dip": _meta("d"),
    "drop": ord("d"),
    "drop several": ord("D"),
    "eat": ord("e"),
    "engrave": ord("E"),
    "enhance": _meta("e"),
    "fight": ord("F"),
    "fire": ord("f"),
    "force": _meta("f"),
    "inventory": ord("i"),
    "inventory of a kind": ord("I"),
    "invoke": _meta("i"),
    "jump": _meta("j"),
    "kick": _control("d"),
    "look": ord(":"),
    "loot": _meta("l"),
    "monster ability": _meta("m"),
    "move": ord("m"),
    "move far": ord("M"),
    "offer": _meta("o"),
    "open": ord("o"),
    "pay": ord("p"),
    "pick up": ord(","),
    "pray": _meta("p"),
    "put on": ord("P"),
    "quaff": ord("q"),
    "quiver": ord("Q"),
    "read": ord("r"),
    "remove": ord("R"),
    "ride": _meta("R"),
    "rub": _meta("r"),
    "rush": ord("g"),
    "rush far": ord("G"),
    "search": ord("s"),
    "see amulet": ord('"'),
    "see armor": ord("["),
    "see gold": ord("$"),
    "see rings": ord("="),
    "see spells": ord("+"),
    "see tools": ord("("),
    "see trap": ord("^"),
    "see weapon": ord(")"),
    "sit": _meta("s"),
    "swap weapons": ord("x"),
    "take off": ord("T"),
    "take off all": ord("A"),
    "throw": ord("t"),
    "tip": _meta("T"),
    "turn undead": _meta("t"),
    "two weapons": ord("X"),
    "untrap": _meta("u"),
    "version": ord("v"),
    "wear": ord("W"),
    "wield": ord("w"),
    "wipe": _meta("w"),
    "zap": ord("z"),
}

COMMANDS: dict[str, int] = {**_STEPS, **_RUNS, **_PLAIN}
"""Every command's name and key."""

PREFIXES: frozenset[int] = frozenset(COMMANDS[name] for name in ("fight", "move", "move far", "rush", "rush far"))
"""Keys after which NetHack waits for a direction without showing a question."""

_NAMES = {key: name for name, key in COMMANDS.items()}


def commands_for(keys: Iterable[int]) -> dict[str, int]:
    """Return the commands for a family's keys, in NetHack's order.

    It leaves out the keys that only answer (Enter, Escape, blank), and the shell escape, which NLE does not support.
    """
    return {_NAMES[key]: key for key in keys if key in _NAMES}
