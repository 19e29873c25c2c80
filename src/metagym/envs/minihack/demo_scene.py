"""The demo's eyes: an observation's text read back into a scene. It sees no more than any actor is told."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

Square = tuple[int, int]

STEPS: dict[str, Square] = {
    "n": (-1, 0),
    "e": (0, 1),
    "s": (1, 0),
    "w": (0, -1),
    "ne": (-1, 1),
    "se": (1, 1),
    "sw": (1, -1),
    "nw": (-1, -1),
}
ITEMS = frozenset('?!/="[)(%*$')
_MONSTERS = frozenset("&';:~@")
FLOOR = frozenset(".#<>_{^") | ITEMS
_MAP = re.compile(r"^Map \(rows (\d+)-(\d+), columns (\d+)-\d+\):$", re.MULTILINE)
_CURSOR = re.compile(r"^You are at row (\d+), column (\d+)\.$", re.MULTILINE)
_MESSAGE = re.compile(r"^Message: (.*)$", re.MULTILINE)
_ITEM = re.compile(r"^([a-zA-Z]): (.+)$", re.MULTILINE)
_HP = re.compile(r"\bHP (-?\d+)/(\d+)")


@dataclass(frozen=True)
class Scene:
    """What a text says: the squares that are known, where the hero stands, what is held and told."""

    squares: dict[Square, str]
    hero: Square
    message: str
    items: tuple[tuple[str, str], ...]
    hit_points: int | None

    @cached_property
    def floor(self) -> dict[Square, str]:
        """The squares of floor and corridor that are shown."""
        return {square: symbol for square, symbol in self.squares.items() if symbol in ".#"}

    @cached_property
    def doors(self) -> frozenset[Square]:
        """The squares of closed doors that are shown."""
        return frozenset(self.find("+"))

    @cached_property
    def spots(self) -> frozenset[Square]:
        """The squares that may be an altar or a sink."""
        return frozenset(self.find("_#"))

    def find(self, symbols: Iterable[str]) -> list[Square]:
        """Return the squares that show one of the symbols, the nearest to the hero first."""
        wanted = frozenset(symbols)
        found = [square for square, symbol in self.squares.items() if symbol in wanted and square != self.hero]
        return sorted(found, key=lambda square: (distance(square, self.hero), square))

    def monsters(self) -> list[Square]:
        """Return the squares where a monster stands, the nearest first."""
        return self.find(symbol for symbol in set(self.squares.values()) if symbol.isalpha() or symbol in _MONSTERS)

    def holds(self, *words: str) -> str | None:
        """Return the letter of an item whose description has one of the words; None where there is none."""
        # A ring mail is no ring.
        wanted = re.compile(rf"\b(?:{'|'.join(words)})s?\b(?! mail)")
        return next((letter for letter, name in self.items if words and wanted.search(name)), None)


@lru_cache(maxsize=2048)
def read_scene(text: str) -> Scene | None:
    """Return the scene that a text shows; None where it shows no map with a hero."""
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
    """Return the number of steps between two squares, where nothing is in the way."""
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))


def direction(start: Square, to: Square) -> str | None:
    """Return the direction of a neighbouring square; None where it is no neighbour."""
    offset = to[0] - start[0], to[1] - start[1]
    return next((name for name, step in STEPS.items() if step == offset), None)


def neighbours(square: Square) -> Iterator[Square]:
    """Yield the eight squares around one."""
    for down, right in STEPS.values():
        yield square[0] + down, square[1] + right


def first_step(scene: Scene, is_goal: Callable[[Square], bool], doors: frozenset[Square]) -> str | None:
    """Return the direction of the first step on a cheapest way to a goal; None where there is no way.

    Monsters and traps are avoided where a way around is short; doors are never passed diagonally.
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
            return first
        for name, (down, right) in STEPS.items():
            there = square[0] + down, square[1] + right
            symbol = scene.squares.get(there, " ")
            if there in reached or not (symbol in FLOOR or there in doors or there in monsters or is_goal(there)):
                continue
            if down and right and (square in doors or there in doors):
                continue
            price = 4 if there in monsters else 15 if symbol == "^" else 1
            # Equal ways: the straight one first, and always the same one.
            heapq.heappush(queue, (cost + price, there, first or name))
    return None
