"""The task set of MiniHack: levels drawn by seed, split by their first visible map; and a count of distinct levels."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.families import FAMILIES, FEW_LEVELS, GROUPS, INVENTORY_KINDS, check_family
from metagym.errors import ConfigError, TasksExhaustedError
from metagym.tasks import SeededTaskSet
from metagym.types import Task


class MiniHackTaskSet(SeededTaskSet):
    """The levels of all families. A task's id is `family/seed`.

    A level's content decides its role: the whole map as visible at the start, *without* inventory, status and
    message. Two seeds that show the same map are one level, whatever the hero carries. The inventory counts only for
    families whose task is about an item that the hero starts with.

    >>> tasks = MiniHackTaskSet()
    >>> tasks.find("MiniHack-Room-5x5-v0/1").digest == tasks.find("MiniHack-Room-5x5-v0/2").digest
    True
    >>> tasks.close()
    """

    def __init__(self, *, pool: GamePool | None = None) -> None:
        self._pool = GamePool() if pool is None else pool
        self._owns_pool = pool is None
        super().__init__(FAMILIES, self.content_of, groups=GROUPS)

    def close(self) -> None:
        """Close the games that were made here."""
        if self._owns_pool:
            self._pool.close()

    def draw(
        self,
        num_tasks: int,
        *,
        rng: np.random.Generator,
        families: Sequence[str] | None = None,
        split: str = "train",
        exclude: Iterable[str] = (),
    ) -> tuple[Task, ...]:
        """Draw tasks as `TaskSet.draw` does. Some families have only one level."""
        try:
            return super().draw(num_tasks, rng=rng, families=families, split=split, exclude=exclude)
        except TasksExhaustedError as error:
            few = [name for name in self.expand_families(families) if name in FEW_LEVELS]
            counts = ", ".join(f"{name} about {FEW_LEVELS[name]}" for name in few[:5])
            hint = f" All roles together have few levels: {counts}." if few else ""
            raise TasksExhaustedError(
                f"{error}{hint} `metagym minihack levels` counts the levels of a family."
            ) from error

    def content_of(self, family: str, seed: int) -> str:
        """Return the content that distinguishes levels of this family: the map at the start, as text."""
        game = self._pool.take(family)
        try:
            game.start(seed)
            screen = game.screen()
        finally:
            self._pool.give_back(game)
        kinds = INVENTORY_KINDS.get(family, ())
        items = [name for _, name in screen.inventory if any(kind in name for kind in kinds)]
        return "\n".join((screen.map_text, *items))


class StartCount(NamedTuple):
    """The number of distinct levels among some seeds of a family."""

    family: str
    num_seeds: int
    num_levels: int
    """Distinct contents."""
    num_once: int
    """Contents of exactly one seed."""
    num_twice: int
    """Contents of exactly two seeds."""

    @property
    def estimate(self) -> int:
        """A lower bound on the number of levels of the family, unseen ones included.

        Source: Chao 1984, "Nonparametric estimation of the number of classes in a population"
        (bias-corrected form). It means little if nearly every seed gave a new level.
        """
        unseen = self.num_once * (self.num_once - 1) / (2 * (self.num_twice + 1))
        return round(self.num_levels + unseen)


def count_starts(families: Iterable[str], *, num_seeds: int = 1000) -> Iterator[StartCount]:
    """Yield the count of each family, over the seeds from 0 on. A seed takes about 1 ms."""
    if num_seeds < 1:
        raise ConfigError(f"num_seeds must be at least 1, got {num_seeds}.")
    names = [check_family(family) for family in families]
    with contextlib.closing(MiniHackTaskSet()) as tasks:
        for family in names:
            counts = Counter(tasks.content_of(family, seed) for seed in range(num_seeds))
            times = Counter(counts.values())
            yield StartCount(family, num_seeds, len(counts), times[1], times[2])
