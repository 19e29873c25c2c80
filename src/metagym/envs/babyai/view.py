"""The agent's view, in words: the way ahead, left and right, and each object by direction and distance.

BabyAI shows seven by seven squares, with the agent in the middle of the last row. It sees nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

DIRECTIONS = ("east", "south", "west", "north")


def view_of(level: Any) -> str:
    """Return the view of a level's agent as a text."""
    grid, visible = level.gen_obs_grid()
    middle, last = grid.width // 2, grid.height - 1

    def see(side: int, ahead: int) -> tuple[bool, Any]:
        column, row = middle + side, last - ahead
        is_seen = 0 <= column < grid.width and row >= 0 and bool(visible[column, row])
        return is_seen, grid.get(column, row) if is_seen else None

    ways = {
        "Ahead": [see(0, number) for number in range(1, grid.height)],
        "Left": [see(-number, 0) for number in range(1, middle + 1)],
        "Right": [see(number, 0) for number in range(1, middle + 1)],
    }
    carried = "nothing" if level.carrying is None else name_of(level.carrying)
    seen = sorted(_objects(grid, visible, middle, last), key=lambda item: (abs(item[0]) + item[1], item[0]))
    objects = "; ".join(f"{name_of(thing)}, {_place(side, ahead)}" for side, ahead, thing in seen)
    return "\n".join(
        [
            f"You face {DIRECTIONS[level.agent_dir]}. You carry {carried}.",
            " ".join(f"{name}: {_way(squares)}." for name, squares in ways.items()),
            f"You see: {objects}." if objects else "You see no objects and no doors.",
        ]
    )


def name_of(thing: Any) -> str:
    """Return an object in words: `a locked red door`, `a green key`."""
    if thing.type == "wall":
        return "a wall"
    state = ""
    if thing.type == "door":
        state = "open" if thing.is_open else "locked" if thing.is_locked else "closed"
    words = " ".join(word for word in (state, thing.color, thing.type) if word)
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _objects(grid: Any, visible: Any, middle: int, last: int) -> Iterator[tuple[int, int, Any]]:
    for column in range(grid.width):
        for row in range(grid.height):
            thing = grid.get(column, row)
            is_agent = (column, row) == (middle, last)
            if thing is not None and thing.type != "wall" and visible[column, row] and not is_agent:
                yield column - middle, last - row, thing


def _way(squares: Iterable[tuple[bool, Any]]) -> str:
    free = 0
    end = "what you cannot see"
    for is_seen, thing in squares:
        if not is_seen:
            break
        if thing is not None and not thing.can_overlap():
            end = name_of(thing)
            break
        free += 1
    return f"{_steps(free, 'free step')}, then {end}" if free else end


def _place(side: int, ahead: int) -> str:
    parts = [f"{_steps(ahead)} ahead"] if ahead else []
    if side:
        parts.append(f"{_steps(abs(side))} to the {'left' if side < 0 else 'right'}")
    return " and ".join(parts)


def _steps(number: int, unit: str = "step") -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"
