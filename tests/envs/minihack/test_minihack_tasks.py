from __future__ import annotations

import numpy as np
import pytest

from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.families import DEFAULT_FAMILIES
from metagym.envs.minihack.tasks import MiniHackTaskSet
from metagym.errors import TasksExhaustedError, UnknownNameError

pytestmark = pytest.mark.minihack


@pytest.fixture(scope="module")
def tasks():
    tasks = MiniHackTaskSet()
    yield tasks
    tasks.close()


def test_equal_maps_are_one_level_whatever_the_hero_carries(tasks):
    family = "MiniHack-Room-5x5-v0"
    env = MiniHackTextEnv(parts=["inventory"])
    carried = {env.reset(options={"task_id": f"{family}/{seed}"})[0] for seed in range(5)}
    env.close()
    assert len(carried) > 1
    assert len({tasks.find(f"{family}/{seed}").digest for seed in range(5)}) == 1


def test_no_start_is_in_two_roles(tasks):
    drawn = {
        split: tasks.draw(40, rng=np.random.default_rng(1), families=["MiniHack-Room-Random-5x5-v0"], split=split)
        for split in ("train", "validation", "test")
    }
    digests = [{task.digest for task in batch} for batch in drawn.values()]
    assert [len(batch) for batch in digests] == [40, 40, 40]
    assert len(set.union(*digests)) == 120


def test_a_family_with_too_few_levels_is_said_to_be_exhausted(tasks):
    with pytest.raises(TasksExhaustedError, match=r"Expected 2 new tasks .* from MiniHack-Room-5x5-v0"):
        tasks.draw(2, rng=np.random.default_rng(0), families=["MiniHack-Room-5x5-v0"])


def test_same_seed_draws_same_tasks(tasks):
    first = tasks.draw(6, rng=np.random.default_rng(3), families=DEFAULT_FAMILIES)
    assert first == tasks.draw(6, rng=np.random.default_rng(3), families=DEFAULT_FAMILIES)
    assert sorted(task.family for task in first) == sorted(DEFAULT_FAMILIES)


def test_groups_stand_for_their_families(tasks):
    assert len(tasks.expand_families(["Room"])) == 12
    with pytest.raises(UnknownNameError, match="Did you mean"):
        tasks.expand_families(["Rooms"])
