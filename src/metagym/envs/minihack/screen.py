"""A screen: read from NetHack's buffers, and written as text, part by part. It knows nothing about actions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from metagym.errors import ConfigError, UnknownNameError

TERMINAL_WIDTH, MAP_WIDTH = 80, 79
# A square that NetHack never wrote to holds 0.
_BLANK_ZERO = bytes([ord(" "), *range(1, 256)])
_HEX = bytes(ord(f"{color & 15:x}") for color in range(256))
_IN_QUESTION, _IN_TEXT, _WAITS_FOR_KEY = 1, 2, 3  # positions in NLE's `internal`

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


@dataclass(frozen=True)
class Screen:
    """One screen: the terminal's lines, the map under any window, the inventory, the hero's numbers.

    The large parts are copied as bytes and converted to lines at the first access.
    """

    terminal_bytes: bytes
    map_bytes: bytes
    message: str
    inventory: tuple[tuple[str, str], ...]
    """Letter and description of each item."""
    hero: tuple[int, int]
    """Row and column of the hero in `map`."""
    stats: tuple[int, ...]
    """NLE's `blstats`."""
    asks_question: bool
    """NetHack waits for one key that answers a question."""
    asks_text: bool
    """NetHack waits for a line of text."""
    waits_for_key: bool
    """NetHack waits at a `--More--`, a menu or a page of text."""
    color_bytes: bytes = b""
    """NetHack's colour of each square, laid out as `map_bytes`; empty unless asked for."""
    descriptions: npt.NDArray[np.uint8] | None = None
    """The content of each square, in NetHack's words; uint8 of shape `[21, 79, 80]`. None unless asked for."""

    @cached_property
    def terminal(self) -> tuple[str, ...]:
        """The terminal: 24 lines of at most 80 characters, without trailing blanks."""
        return tuple(line.rstrip() for line in _lines(self.terminal_bytes, TERMINAL_WIDTH, _BLANK_ZERO))

    @property
    def top_line(self) -> str:
        """The first line of `terminal`, which shows questions and messages."""
        return _lines(self.terminal_bytes[:TERMINAL_WIDTH], TERMINAL_WIDTH, _BLANK_ZERO)[0]

    @cached_property
    def map(self) -> tuple[str, ...]:
        """The level as the hero knows it: 21 lines of 79 characters, even if a window covers it."""
        return _lines(self.map_bytes, MAP_WIDTH, _BLANK_ZERO)

    @cached_property
    def colors(self) -> tuple[str, ...]:
        """The colour of each square of `map`: one hex digit, NetHack's 0-15."""
        return _lines(self.color_bytes, MAP_WIDTH, _HEX)

    @cached_property
    def is_covered(self) -> bool:
        """Whether a window (a menu, a page of text, a long question) hides a part of the map."""
        # While NetHack waits for a command, a line that differs is only a remainder of a closed window.
        if not (self.waits_for_key or self.asks_question or self.asks_text):
            return False
        shown = zip(self.terminal[1:22], self.map, strict=True)
        return any(line not in ("", known.rstrip()) for line, known in shown)

    @property
    def is_blank(self) -> bool:
        """Whether the terminal is empty: NetHack clears it when a game is over."""
        return not self.terminal_bytes.strip(b" \0")

    @property
    def map_text(self) -> str:
        """The whole map as text, with blank edges: two levels with the same text are the same level."""
        return "\n".join(line.rstrip() for line in self.map)

    @cached_property
    def bounds(self) -> tuple[int, int, int, int] | None:
        """The first and last row and the first and last column of the known squares; None if no square is known."""
        rows = [index for index, line in enumerate(self.map) if not line.isspace()]
        if not rows:
            return None
        lines = [self.map[row] for row in rows]
        left = MAP_WIDTH - max(len(line.lstrip()) for line in lines)
        right = max(len(line.rstrip()) for line in lines) - 1
        return rows[0], rows[-1], left, right


def read_screen(buffers: Mapping[str, npt.NDArray[Any]], *, descriptions: bool = False, colors: bool = False) -> Screen:
    """Return a copy of NLE's buffers, which the next key overwrites."""
    internal, stats = buffers["internal"].tolist(), tuple(buffers["blstats"].tolist())
    return Screen(
        terminal_bytes=buffers["tty_chars"].tobytes(),
        map_bytes=buffers["chars"].tobytes(),
        message=_text(buffers["message"].tobytes()),
        inventory=_items(buffers["inv_letters"].tobytes(), buffers["inv_strs"].tobytes()),
        hero=(stats[1], stats[0]),
        stats=stats,
        asks_question=bool(internal[_IN_QUESTION]),
        asks_text=bool(internal[_IN_TEXT]),
        waits_for_key=bool(internal[_WAITS_FOR_KEY]),
        color_bytes=buffers["colors"].tobytes() if colors else b"",
        descriptions=buffers["screen_descriptions"].copy() if descriptions else None,
    )


def _lines(raw: bytes, width: int, table: bytes) -> tuple[str, ...]:
    text = raw.translate(table).decode("latin-1")
    return tuple([text[start : start + width] for start in range(0, len(text), width)])


@lru_cache(maxsize=256)
def _items(letters: bytes, lines: bytes) -> tuple[tuple[str, str], ...]:
    num_items = letters.find(0) if 0 in letters else len(letters)
    width = len(lines) // len(letters)
    return tuple((chr(letters[i]), _text(lines[i * width : (i + 1) * width])) for i in range(num_items))


def _text(raw: bytes) -> str:
    return " ".join(raw.split(b"\0", 1)[0].decode("latin-1").split())


def check_parts(parts: Iterable[str]) -> tuple[str, ...]:
    """Return the parts in the order of `PARTS`.

    Raises:
        ConfigError: the parts are no list, or there is no part of that name.
    """
    if isinstance(parts, str):
        raise ConfigError(f"parts must be a list of names, got {parts!r}. Write parts=[{parts!r}].")
    wanted = list(parts)
    for name in wanted:
        if name not in PARTS:
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
