"""What NetHack shows, read from its buffers into an immutable value. It knows no environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

_BLANK = " " * 79
# A square that NetHack never wrote to holds 0.
_BLANK_ZERO = bytes([ord(" "), *range(1, 256)])
_HEX = bytes(ord(f"{color & 15:x}") for color in range(256))
_IN_QUESTION, _IN_TEXT, _WAITS_FOR_KEY = 1, 2, 3  # positions in NLE's `internal`


@dataclass(frozen=True)
class Screen:
    """One screen: the terminal's lines, the map under any window, the inventory, the hero's numbers."""

    terminal: tuple[str, ...]
    """24 lines of at most 80 characters, trailing blanks cut: what a player at a terminal sees."""
    map: tuple[str, ...]
    """21 lines of 79 characters: the level as known to the hero, also where a window covers it."""
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
    descriptions: npt.NDArray[np.uint8] | None = None
    """What each square shows, in NetHack's words; uint8 of shape `[21, 79, 80]`. None unless asked for."""
    colors: tuple[str, ...] = ()
    """Colour of each square, one hex digit (NetHack's 0-15) each, laid out as `map`; empty by default."""

    @cached_property
    def is_covered(self) -> bool:
        """Whether a window (a menu, a page of text, a long question) hides a part of the map."""
        # While NetHack waits for a command, a line that differs is left over from a window: no window.
        if not (self.waits_for_key or self.asks_question or self.asks_text):
            return False
        shown = zip(self.terminal[1:22], self.map, strict=True)
        return any(line not in ("", known.rstrip()) for line, known in shown)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is shown: NetHack clears its terminal when a game is over."""
        return not any(line.strip() for line in self.terminal)

    @property
    def map_text(self) -> str:
        """The whole map as text, blank edges kept: the content by which levels are told apart."""
        return "\n".join(line.rstrip() for line in self.map)

    @cached_property
    def bounds(self) -> tuple[int, int, int, int] | None:
        """First and last row, first and last column of what is known; None where nothing is."""
        rows = [index for index, line in enumerate(self.map) if line != _BLANK and line.strip()]
        if not rows:
            return None
        lines = [self.map[row] for row in rows]
        left = min(len(line) - len(line.lstrip()) for line in lines)
        right = max(len(line.rstrip()) for line in lines) - 1
        return rows[0], rows[-1], left, right


def read_screen(buffers: Mapping[str, npt.NDArray[Any]], *, descriptions: bool = False, colors: bool = False) -> Screen:
    """Copy NLE's buffers, which the next key overwrites, into a `Screen`."""
    internal, stats = buffers["internal"], tuple(buffers["blstats"].tolist())
    letters, lines = buffers["inv_letters"].tobytes(), buffers["inv_strs"]
    num_items = letters.find(0) if 0 in letters else len(letters)
    return Screen(
        terminal=tuple(line.rstrip() for line in _lines(buffers["tty_chars"])),
        map=_lines(buffers["chars"]),
        message=_text(buffers["message"].tobytes()),
        inventory=tuple((chr(letters[i]), _text(lines[i].tobytes())) for i in range(num_items)),
        hero=(stats[1], stats[0]),
        stats=stats,
        asks_question=bool(internal[_IN_QUESTION]),
        asks_text=bool(internal[_IN_TEXT]),
        waits_for_key=bool(internal[_WAITS_FOR_KEY]),
        descriptions=buffers["screen_descriptions"].copy() if descriptions else None,
        colors=_lines(buffers["colors"], _HEX) if colors else (),
    )


def _lines(grid: npt.NDArray[np.uint8], table: bytes = _BLANK_ZERO) -> tuple[str, ...]:
    width = grid.shape[1]
    text = grid.tobytes().translate(table).decode("latin-1")
    return tuple(text[start : start + width] for start in range(0, len(text), width))


def _text(raw: bytes) -> str:
    return " ".join(raw.split(b"\0", 1)[0].decode("latin-1").split())
