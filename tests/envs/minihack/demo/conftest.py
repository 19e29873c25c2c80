"""The prompts and levels that the tests of the demo share."""

from __future__ import annotations

import numpy as np
import pytest

from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.families import DEFAULT_FAMILIES
from metagym.envs.minihack.tasks import MiniHackTaskSet

WALK = "when the stairs are in sight, walk to them"
EXPLORE = "when the stairs are out of sight, explore"
FETCH = "when an item is in sight, fetch it"


@pytest.fixture(scope="module")
def world():
    pool = GamePool()
    yield MiniHackTextEnv(pool=pool), MiniHackTaskSet(pool=pool)
    pool.close()


def draw(world, num_tasks, seed=0, families=DEFAULT_FAMILIES):
    return world[1].draw(num_tasks, rng=np.random.default_rng(seed), families=families)
