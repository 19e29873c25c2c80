from __future__ import annotations

import itertools

import numpy as np
import pytest

from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.families import DEFAULT_FAMILIES, FEW_LEVELS, PAPER_TEST, PAPER_TRAIN, check_family
from metagym.envs.minihack.tasks import MiniHackTaskSet, StartCount, count_starts
from metagym.errors import ConfigError, TasksExhaustedError, UnknownNameError
from metagym.meta_episode import TaskQueue
from metagym.tasks import ROLES

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


@pytest.mark.slow
def test_no_start_is_in_two_roles(tasks):
    drawn = {
        split: tasks.draw(40, rng=np.random.default_rng(1), families=["MiniHack-Room-Random-5x5-v0"], split=split)
        for split in ROLES
    }
    digests = [{task.digest for task in batch} for batch in drawn.values()]
    assert min(len(batch) for batch in digests) > 20
    assert len(set.union(*digests)) == sum(map(len, digests))


@pytest.mark.parametrize("split", ROLES)
def test_a_meta_episode_in_a_dark_room_plays_the_familys_own_stream_without_the_other_roles(tasks, split):
    """Most dark rooms show nothing. Passing over seen maps would leave those whose stairs are in sight."""
    family = "MiniHack-Room-Dark-5x5-v0"
    queue = TaskQueue(tasks, rng=np.random.default_rng(3), batch_size=3, families=[family], split=split)
    drawn = [task for _ in range(10) for task in queue.draw()]
    stream = tasks.candidates(family, np.random.default_rng(3))
    assert drawn == list(itertools.islice((task for task in stream if task.split == split), 30))
    assert len({task.digest for task in drawn}) < 30


def test_drawing_a_role_that_a_family_lacks_is_an_error(tasks, monkeypatch):
    monkeypatch.setattr(tasks, "max_rejections", 50)
    family = "MiniHack-Room-5x5-v0"
    other = next(role for role in ROLES if role != tasks.find(f"{family}/0").split)
    match = r"Expected 2 new tasks .* from MiniHack-Room-5x5-v0.* few levels: MiniHack-Room-5x5-v0 about 1"
    with pytest.raises(TasksExhaustedError, match=match):
        tasks.draw(2, rng=np.random.default_rng(0), families=[family], split=other)


def test_same_seed_draws_same_tasks(tasks):
    first = tasks.draw(6, rng=np.random.default_rng(3), families=DEFAULT_FAMILIES)
    assert first == tasks.draw(6, rng=np.random.default_rng(3), families=DEFAULT_FAMILIES)
    assert sorted(task.family for task in first) == sorted(DEFAULT_FAMILIES)


def test_groups_stand_for_their_families(tasks):
    assert len(tasks.expand_families(["Room"])) == 12
    with pytest.raises(UnknownNameError, match="Did you mean"):
        tasks.expand_families(["Rooms"])


def test_counts_are_of_distinct_starts():
    counts = list(count_starts(["MiniHack-Room-5x5-v0", "MiniHack-LockedDoor-v0"], num_seeds=100))
    assert [(count.family, count.num_seeds) for count in counts] == [
        ("MiniHack-Room-5x5-v0", 100),
        ("MiniHack-LockedDoor-v0", 100),
    ]
    assert (counts[0].num_levels, counts[0].estimate) == (1, 1)
    assert 20 <= counts[1].num_levels <= counts[1].estimate <= 30
    with pytest.raises(ConfigError, match="num_seeds must be at least 1, got 0"):
        list(count_starts([], num_seeds=0))


def test_the_estimate_is_that_of_chao_1984():
    """Chao 1984, bias-corrected: S + f1 (f1 - 1) / (2 (f2 + 1))."""
    assert StartCount("a", 10, num_levels=8, num_once=6, num_twice=2).estimate == 8 + 5
    assert StartCount("a", 10, num_levels=5, num_once=0, num_twice=5).estimate == 5


def test_the_papers_split_holds_out_its_families():
    for families in (PAPER_TRAIN, PAPER_TEST):
        assert all(check_family(family) == family for family in families)
        assert not set(families) & {name for name, levels in FEW_LEVELS.items() if levels < 100}
    assert not set(PAPER_TRAIN) & set(PAPER_TEST)
