"""Levels as tasks: drawn lazily by seed, split by what is visible at the start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.families import FAMILIES, FEW_LEVELS, GROUPS, INVENTORY_KINDS
from metagym.envs.minihack.screen import Screen
from metagym.errors import TasksExhaustedError
from metagym.tasks import SeededTaskSet
from metagym.types import Task


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

    def draw(
        self,
        num_tasks: int,
        *,
        rng: np.random.Generator,
        families: Sequence[str] | None = None,
        split: str = "train",
        exclude: Iterable[str] = (),
    ) -> tuple[Task, ...]:
        """Draw tasks as `TaskSet.draw` does.

        Raises:
            TasksExhaustedError: the families hold too few levels of this split. Some families have one
                level in all, whatever the seed.
        """
        try:
            return super().draw(num_tasks, rng=rng, families=families, split=split, exclude=exclude)
        except TasksExhaustedError as error:
            few = [name for name in self.expand_families(families) if name in FEW_LEVELS]
            counts = ", ".join(f"{name} about {FEW_LEVELS[name]}" for name in few[:5])
            hint = f" Of all roles together there are few levels: {counts}." if few else ""
            raise TasksExhaustedError(f"{error}{hint} `count_starts` tells how many levels a family has.") from error

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
