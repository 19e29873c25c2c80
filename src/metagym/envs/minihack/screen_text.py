"""Writes a screen as text, part by part. It knows nothing about actions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from metagym.envs.minihack.screen import Screen
from metagym.errors import UnknownNameError

PARTS = ("message", "map", "whole map", "cursor", "inventory", "status", "legend")
DEFAULT_PARTS = ("message", "map", "cursor", "inventory", "status")

_HUNGER = ("satiated", "not hungry", "hungry", "weak", "fainting", "fainted", "starved")
_BURDEN = ("", "burdened", "stressed", "strained", "overtaxed", "overloaded")
_CONDITIONS = (
    "turning to stone",
    "turning to slime",
    "strangled",
    "food poisoned",
    "terminally ill",
    "blind",
    "deaf",
    "stunned",
    "confused",
    "hallucinating",
    "levitating",
    "flying",
    "riding",
)
_CHOICES = re.compile(r"\[[^\[\]]+\]( \(.\))?( .)?$")
_NOT_PLAIN = re.compile(r"[^ .|\-]")


def check_parts(parts: Iterable[str]) -> tuple[str, ...]:
    """Return the parts in the order of `PARTS`.

    Raises:
        UnknownNameError: there is no part of that name.
    """
    wanted = set(parts)
    for name in wanted - set(PARTS):
        raise UnknownNameError.of("part of the text", name, PARTS)
    return tuple(part for part in PARTS if part in wanted)


def render_text(screen: Screen, *, parts: tuple[str, ...] = DEFAULT_PARTS) -> str:
    """Return the screen as text. If a window covers the map, the text shows the window instead."""
    return "\n".join([_WRITERS[part](screen) for part in parts])


def render_display(screen: Screen) -> dict[str, Any]:
    """Return the known part of the map for viewers.

    `chars` are its lines, `colors` the colours of its squares (0-15, one hex digit each), `top` and `left` its
    position, and `hero` the hero's row and column.
    """
    top, bottom, left, right = screen.bounds or (0, -1, 0, -1)
    rows, columns = slice(top, bottom + 1), slice(left, right + 1)
    return {
        "top": top,
        "left": left,
        "chars": [line[columns] for line in screen.map[rows]],
        "colors": [line[columns] for line in screen.colors[rows]],
        "hero": list(screen.hero),
    }


def _message(screen: Screen) -> str:
    if screen.message:
        # After an answer, NetHack leaves the question on its top line.
        is_answered = _CHOICES.search(screen.message) and not screen.asks_question
        return f"{screen.message} (answered)" if is_answered else screen.message
    # While the cursor moves over the map, NetHack describes squares only on the top line.
    return "(none)" if screen.is_covered else " ".join(screen.top_line.split()) or "(none)"


def _window(screen: Screen) -> str:
    return "\n".join(("Screen:", *(line for line in screen.terminal[:22] if line.strip())))


def _map(screen: Screen, *, crop: bool) -> str:
    if screen.is_covered:
        return _window(screen)
    if screen.bounds is None:
        return "Map: nothing is known."
    top, bottom, left, right = screen.bounds if crop else (0, len(screen.map) - 1, 0, len(screen.map[0]) - 1)
    lines = [line[left : right + 1].rstrip() for line in screen.map[top : bottom + 1]]
    return "\n".join((f"Map (rows {top}-{bottom}, columns {left}-{right}):", *lines))


@lru_cache(maxsize=256)
def _inventory(inventory: tuple[tuple[str, str], ...]) -> str:
    items = [f"{letter}: {name}" for letter, name in inventory]
    return "\n".join(("Inventory:", *items)) if items else "Inventory: nothing."


def _status(screen: Screen) -> str:
    stats = screen.stats
    hunger, burden, conditions = stats[21], stats[22], stats[25]
    status = (
        f"Status: HP {stats[10]}/{stats[11]}, energy {stats[14]}/{stats[15]}, armor class {stats[16]}, "
        f"experience level {stats[18]}, dungeon level {stats[12]}, gold {stats[13]}, turn {stats[20]}"
    )
    words = [_HUNGER[hunger]] if 0 <= hunger < len(_HUNGER) else []
    if 0 < burden < len(_BURDEN):
        words.append(_BURDEN[burden])
    if conditions:
        words += [name for bit, name in enumerate(_CONDITIONS) if conditions >> bit & 1]
    return ", ".join([status, *words])


def _legend(screen: Screen) -> str:
    if screen.descriptions is None:
        return "Legend: none."
    seen: dict[str, None] = {}
    for row, line in enumerate(screen.map):
        for found in _NOT_PLAIN.finditer(line):
            raw = screen.descriptions[row, found.start()].tobytes().split(b"\0", 1)[0]
            seen.setdefault(f"{found[0]} {raw.decode('latin-1')}")
    return "Legend: " + "; ".join(seen) + "."


_WRITERS: dict[str, Callable[[Screen], str]] = {
    "message": lambda screen: f"Message: {_message(screen)}",
    "map": lambda screen: _map(screen, crop=True),
    "whole map": lambda screen: _map(screen, crop=False),
    "cursor": lambda screen: f"You are at row {screen.hero[0]}, column {screen.hero[1]}.",
    "inventory": lambda screen: _inventory(screen.inventory),
    "status": _status,
    "legend": _legend,
}
