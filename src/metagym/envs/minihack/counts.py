"""How many different levels a family has: distinct starts among many seeds, and an estimate of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.families import check_family
from metagym.envs.minihack.tasks import content
from metagym.errors import ConfigError


@dataclass(frozen=True)
class StartCount:
    """How many levels some seeds of a family give."""

    family: str
    num_seeds: int
    num_levels: int
    """Distinct contents, as the split by content tells them apart."""
    num_once: int
    """Contents that came exactly once."""
    num_twice: int
    """Contents that came exactly twice."""

    @property
    def estimate(self) -> int:
        """A lower bound on the number of levels of the family, unseen ones included.

        Source: Chao 1984, "Nonparametric estimation of the number of classes in a population"
        (bias-corrected form). It means little where nearly every seed gave a new level.
        """
        unseen = self.num_once * (self.num_once - 1) / (2 * (self.num_twice + 1))
        return round(self.num_levels + unseen)


def count_starts(
    families: Iterable[str], *, num_seeds: int = 1000, first_seed: int = 0, pool: GamePool | None = None
) -> Iterator[StartCount]:
    """Yield the count of each family over the seeds from `first_seed` on; about 1 ms a seed.

    Raises:
        UnknownNameError: a name is no family.
        ConfigError: `num_seeds` is less than 1.
    """
    if num_seeds < 1:
        raise ConfigError(f"num_seeds must be at least 1, got {num_seeds}.")
    names = [check_family(family) for family in families]
    games = GamePool() if pool is None else pool
    try:
        for family in names:
            game = games.take(family)
            counts: Counter[str] = Counter()
            for seed in range(first_seed, first_seed + num_seeds):
                game.start(seed)
                counts[content(family, game.screen())] += 1
            games.give_back(game)
            times = Counter(counts.values())
            yield StartCount(family, num_seeds, len(counts), times[1], times[2])
    finally:
        if pool is None:
            games.close()
