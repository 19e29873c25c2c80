"""The course of a meta-episode: its tasks, its end and its length."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest

from metagym.errors import (
    TasksExhaustedError,
)
from metagym.testing import ScriptedActor
from tests.conftest import MakeGates
from tests.env.playing import ids_of, num_train, played

pytestmark = pytest.mark.timeout(60)


def test_no_task_comes_twice_in_a_meta_episode(make_gates: MakeGates) -> None:
    env = make_gates(families=["law-0001", "law-0002"], schedule="fresh", episodes_per_step=3)
    steps = played(env, 30)
    digests = [item.task.digest for step in steps for item in step[0]]
    assert len(set(digests)) == len(digests) == 90


def test_a_step_that_leaves_too_few_tasks_truncates_and_the_next_raises(corridors: Any) -> None:
    env = corridors(episodes_per_step=1)
    steps = played(env, num_train())
    assert [step[3] for step in steps] == [False] * (num_train() - 1) + [True]
    with pytest.raises(TasksExhaustedError, match=r"Expected 1 new tasks with split 'train' from corridor"):
        env.step("p")
    assert env.ledger.num_episodes == num_train()


def test_too_few_tasks_for_one_step_are_told_at_reset(corridors: Any) -> None:
    with pytest.raises(TasksExhaustedError, match=r"Expected 8 new tasks"):
        corridors(episodes_per_step=8).reset(seed=0)


def test_after_a_reset_the_tasks_may_come_again(corridors: Any) -> None:
    env = corridors(episodes_per_step=num_train())
    assert sorted(ids_of(played(env, 1, seed=0))) == sorted(ids_of(played(env, 1, seed=1)))


def test_terminated_only_where_a_success_threshold_is_given_and_reached(make_gates: MakeGates) -> None:
    perfect = ScriptedActor(["knock"])
    options: dict[str, Any] = {"families": ["law-0000"], "episodes_per_step": 2}
    assert [step[2] for step in played(make_gates(perfect, **options), 3)] == [False] * 3
    assert [step[2] for step in played(make_gates(perfect, success_threshold=1.0, **options), 1)] == [True]
    wrong = ScriptedActor(["push"])
    assert [step[2] for step in played(make_gates(wrong, success_threshold=0.5, **options), 2)] == [False] * 2


def test_a_last_meta_step_that_reaches_the_threshold_is_terminated_and_truncated(make_gates: MakeGates) -> None:
    env = make_gates(ScriptedActor(["knock"]), families=["law-0000"], episodes_per_step=2, success_threshold=1.0)
    task_ids = [task.id for task in env.task_set.draw(2, rng=env.np_random, families=["law-0000"])]
    env.reset(seed=0, options={"task_ids": task_ids})
    assert env.step("p")[2:4] == (True, True)


def test_an_episode_says_which_meta_step_it_belongs_to(make_gates: MakeGates) -> None:
    env = make_gates()
    for _ in range(2):
        assert [{item.episode.meta_step for item in step[0]} for step in played(env, 3)] == [{0}, {1}, {2}]
    assert [item.index for item in env.replay(["p", "q"], ["law-0001/1"])] == [3, 3]


def test_the_length_of_the_meta_episode_is_the_registered_one() -> None:
    env = gymnasium.make("MetaGym/Gates-v0", actor="random", episodes_per_step=1)
    assert [step[3] for step in played(env, 10)] == [False] * 9 + [True]  # type: ignore[arg-type]
    env = gymnasium.make("MetaGym/Gates-v0", actor="random", episodes_per_step=1, max_episode_steps=3)
    assert [step[3] for step in played(env, 3)] == [False, False, True]  # type: ignore[arg-type]
