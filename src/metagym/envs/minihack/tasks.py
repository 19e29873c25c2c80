"""Levels as tasks: drawn lazily by seed, split by what is visible at the start."""

from __future__ import annotations

from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.families import FAMILIES, GROUPS, INVENTORY_KINDS
from metagym.envs.minihack.screen import Screen
from metagym.tasks import SeededTaskSet


class MiniHackTaskSet(SeededTaskSet):
    """The levels of all families, or of some; a task's id is `family/seed`.

    The content that decides a level's role is the whole map as visible at the start, *without*
    inventory, status and message: two seeds that show the same map are one level, whatever the hero
    carries. The inventory counts only for families whose task is what they start with.

    >>> tasks = MiniHackTaskSet()
    >>> tasks.find("MiniHack-Room-5x5-v0/1").digest == tasks.find("MiniHack-Room-5x5-v0/2").digest
    True
    >>> tasks.close()
    """

    def __init__(self, *, pool: GamePool | None = None) -> None:
        self._pool = GamePool() if pool is None else pool
        super().__init__(
            FAMILIES,
            self._content_of,
            groups=GROUPS,
            close=self._pool.close if pool is None else None,
        )

    def _content_of(self, family: str, seed: int) -> str:
        game = self._pool.take(family)
        try:
            game.start(seed)
            return content(family, game.screen())
        finally:
            self._pool.give_back(game)


def content(family: str, screen: Screen) -> str:
    """Return what tells a level of this family from others: the map at the start, as text."""
    kinds = INVENTORY_KINDS.get(family, ())
    items = [name for _, name in screen.inventory if any(kind in name for kind in kinds)]
    return "\n".join((screen.map_text, *items))
