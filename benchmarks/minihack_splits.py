"""Whether any level of the default mix comes in two roles: 2,000 draws in each role, by the maps themselves.

    python benchmarks/minihack_splits.py

A draw is a seed whose level has the role. The roles follow from a digest; this looks at the maps instead.
"""

from __future__ import annotations

import itertools

import numpy as np

from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.families import DEFAULT_FAMILIES
from metagym.envs.minihack.tasks import MiniHackTaskSet
from metagym.tasks import ROLES
from metagym.tasks.seeds import read_seeded_id


def main(num_draws: int = 2000) -> None:
    pool = GamePool()
    tasks = MiniHackTaskSet(pool=pool)
    for family in DEFAULT_FAMILIES:
        maps: dict[str, set[str]] = {role: set() for role in ROLES}
        drawn = dict.fromkeys(ROLES, 0)
        game = pool.take(family)
        for task in tasks.candidates(family, np.random.default_rng(0)):
            if drawn[task.split] < num_draws:
                drawn[task.split] += 1
                game.start(read_seeded_id(task.id)[1])
                maps[task.split].add(game.screen().map_text)
            if min(drawn.values()) == num_draws:
                break
        shared = sum(len(maps[one] & maps[other]) for one, other in itertools.combinations(ROLES, 2))
        sizes = ", ".join(f"{role} {len(maps[role])}" for role in ROLES)
        print(
            f"{family:32} {num_draws} draws a role; distinct maps: {sizes}; in two roles: {shared}",
            flush=True,
        )
    pool.close()


if __name__ == "__main__":
    main()
