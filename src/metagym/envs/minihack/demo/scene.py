"""Reads an observation's text back into a scene, for the demo. It uses nothing but the text."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from metagym.envs.minihack.commands import OFFSETS

Square = tuple[int, int]

ITEMS = frozenset('?!/="[)(%*$')
_MONSTERS = frozenset("&';:~@")
FLOOR = frozenset(".#<>_{^") | ITEMS
_MAP = re.compile(r"^Map \(rows (\d{1,4})-(\d{1,4}), columns (\d{1,4})-\d{1,4}\):$", re.MULTILINE)
_CURSOR = re.compile(r"^You are at row (\d{1,4}), column (\d{1,4})\.$", re.MULTILINE)
_MESSAGE = re.compile(r"^Message: (.*)$", re.MULTILINE)
_ITEM = re.compile(r"^([a-zA-Z]): (.+)$", re.MULTILINE)
_HP = re.compile(r"\bHP (-?\d{1,9})/(\d{1,9})")


@dataclass(frozen=True)
class Scene:
    """The content of a text: the known squares, the hero's square, the message and the inventory."""

    squares: dict[Square, str]
    hero: Square
    message: str
    items: tuple[tuple[str, str], ...]
    hit_points: int | None

    @cached_property
    def floor(self) -> dict[Square, str]:
        """The visible squares of floor and corridor."""
        return {square: symbol for square, symbol in self.squares.items() if symbol in ".#"}

    @cached_property
    def doors(self) -> frozenset[Square]:
        """The visible squares of closed doors."""
        return frozenset(self.find("+"))

    @cached_property
    def spots(self) -> frozenset[Square]:
        """The visible squares that may be an altar or a sink."""
        return frozenset(self.find("_#"))

    def find(self, symbols: Iterable[str]) -> list[Square]:
        """Return the squares that show one of the symbols, sorted by distance from the hero."""
        wanted = frozenset(symbols)
        found = [square for square, symbol in self.squares.items() if symbol in wanted and square != self.hero]
        return sorted(found, key=lambda square: (distance(square, self.hero), square))

    def monsters(self) -> list[Square]:
        """Return the squares of monsters, sorted by distance from the hero."""
        return self.find(symbol for symbol in set(self.squares.values()) if symbol.isalpha() or symbol in _MONSTERS)

    def holds(self, *words: str) -> str | None:
        """Return the letter of an item whose description contains one of the words; None without such an item."""
        # A ring mail is not a ring.
        wanted = re.compile(rf"\b(?:{'|'.join(words)})s?\b(?! mail)")
        return next((letter for letter, name in self.items if words and wanted.search(name)), None)


@lru_cache(maxsize=2048)
def read_scene(text: str) -> Scene | None:
    """Return the scene in a text; None if the text shows no map with a hero."""
    cursor, heading = _CURSOR.search(text), _MAP.search(text)
    if cursor is None or heading is None:
        return None
    top, bottom, left = (int(number) for number in heading.groups())
    lines = text[heading.end() + 1 :].split("\n")[: bottom - top + 1]
    squares = {
        (top + row, left + column): symbol
        for row, line in enumerate(lines)
        for column, symbol in enumerate(line)
        if symbol != " "
    }
    message, hit_points = _MESSAGE.search(text), _HP.search(text)
    return Scene(
        squares=squares,
        hero=(int(cursor[1]), int(cursor[2])),
        message=message[1] if message else "",
        items=tuple((match[1], match[2]) for match in _ITEM.finditer(text)),
        hit_points=int(hit_points[1]) if hit_points else None,
    )


def distance(one: Square, other: Square) -> int:
    """Return the number of steps between two squares if nothing is in the way."""
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))


def direction(start: Square, to: Square) -> str | None:
    """Return the direction of a neighbouring square; None if it is not a neighbour."""
    offset = to[0] - start[0], to[1] - start[1]
    return next((name for name, step in OFFSETS.items() if step == offset), None)


def neighbours(square: Square) -> Iterator[Square]:
    """Yield the eight squares around a square."""
    for down, right in OFFSETS.values():
        yield square[0] + down, square[1] + right


def first_step(scene: Scene, is_goal: Callable[[Square], bool], doors: frozenset[Square]) -> str | None:
    """Return the command of the first step on a cheapest way to a goal; None if there is no way.

    A way around a monster or a trap is taken if it is short. Doors are never passed diagonally.
    """
    queue: list[tuple[int, Square, str | None]] = [(0, scene.hero, None)]
    reached: set[Square] = set()
    monsters = frozenset(scene.monsters())
    while queue:
        cost, square, first = heapq.heappop(queue)
        if square in reached:
            continue
        reached.add(square)
        if first is not None and is_goal(square):
            return f"step {first}"
        for name, (down, right) in OFFSETS.items():
            there = square[0] + down, square[1] + right
            symbol = scene.squares.get(there, " ")
            if there in reached or not (symbol in FLOOR or there in doors or there in monsters or is_goal(there)):
                continue
            if down and right and (square in doors or there in doors):
                continue
            price = 4 if there in monsters else 15 if symbol == "^" else 1
            # Of equal ways prefer straight steps, and always choose the same one.
            heapq.heappush(queue, (cost + price, there, first or name))
    return None
