"""The screen as text, part by part, each switchable. It knows no actions."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
_PLAIN_SQUARES = frozenset(" .|-")


def check_parts(parts: Iterable[str]) -> tuple[str, ...]:
    """Return the parts in their order on the page.

    Raises:
        UnknownNameError: a name is no part.
    """
    wanted = set(parts)
    for name in wanted - set(PARTS):
        raise UnknownNameError.of("part of the text", name, PARTS)
    return tuple(part for part in PARTS if part in wanted)


def render_text(screen: Screen, *, parts: tuple[str, ...] = DEFAULT_PARTS) -> str:
    """Return the screen as text. Where a window covers the map, the whole window stands in its place."""
    writers = {
        "message": lambda: f"Message: {_message(screen)}",
        "map": lambda: _map(screen, crop=True),
        "whole map": lambda: _map(screen, crop=False),
        "cursor": lambda: "You are at row {}, column {}.".format(*screen.hero),
        "inventory": lambda: _inventory(screen),
        "status": lambda: _status(screen),
        "legend": lambda: _legend(screen),
    }
    return "\n".join(writers[part]() for part in parts)


def render_display(screen: Screen) -> dict[str, Any]:
    """Return the known part of the map for viewers.

    `chars` are its lines, `colors` the same in NetHack's colours (0-15, one hex digit a square), `top`
    and `left` say where it lies, `hero` where the hero stands.
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
        # NetHack leaves a question on its top line after the answer.
        is_answered = _CHOICES.search(screen.message) and not screen.asks_question
        return f"{screen.message} (answered)" if is_answered else screen.message
    # Moving the cursor over the map describes squares on the top line alone.
    return "(none)" if screen.is_covered else " ".join(screen.terminal[0].split()) or "(none)"


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


def _inventory(screen: Screen) -> str:
    items = [f"{letter}: {name}" for letter, name in screen.inventory]
    return "\n".join(("Inventory:", *items)) if items else "Inventory: nothing."


def _status(screen: Screen) -> str:
    stats = screen.stats
    words = [
        f"HP {stats[10]}/{stats[11]}",
        f"energy {stats[14]}/{stats[15]}",
        f"armor class {stats[16]}",
        f"experience level {stats[18]}",
        f"dungeon level {stats[12]}",
        f"gold {stats[13]}",
        f"turn {stats[20]}",
        _HUNGER[stats[21]] if 0 <= stats[21] < len(_HUNGER) else "",
        _BURDEN[stats[22]] if 0 <= stats[22] < len(_BURDEN) else "",
        *(name for bit, name in enumerate(_CONDITIONS) if stats[25] >> bit & 1),
    ]
    return "Status: " + ", ".join(word for word in words if word)


def _legend(screen: Screen) -> str:
    if screen.descriptions is None:
        return "Legend: none."
    seen: dict[str, None] = {}
    for row, line in enumerate(screen.map):
        for column, square in enumerate(line):
            if square not in _PLAIN_SQUARES:
                raw = screen.descriptions[row, column].tobytes().split(b"\0", 1)[0]
                seen.setdefault(f"{square} {raw.decode('latin-1')}")
    return "Legend: " + "; ".join(seen) + "."
