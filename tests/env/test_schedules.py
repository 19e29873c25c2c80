"""Families, splits and schedules of a meta-environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from metagym.errors import (
    ConfigError,
)
from metagym.meta_episode import TaskQueue
from metagym.types import Task
from tests.conftest import MakeGates
from tests.env.playing import played

pytestmark = pytest.mark.timeout(60)


def test_tasks_are_of_the_asked_families_and_the_asked_split(make_gates: MakeGates) -> None:
    for split in ("train", "validation", "test"):
        env = make_gates(families=["law-0001", "law-0002"], split=split, schedule="fresh", episodes_per_step=6)
        tasks = [item.task for step in played(env, 2) for item in step[0]]
        assert {task.split for task in tasks} == {split}
        assert {task.family for task in tasks} == {"law-0001", "law-0002"}


def test_the_schedule_same_plays_the_first_batch_again(make_gates: MakeGates) -> None:
    steps = played(make_gates(schedule="same", families=["law-0001"]), 3)
    assert steps[0][4]["task_ids"] == steps[1][4]["task_ids"] == steps[2][4]["task_ids"]
    assert [{item.episode.repetition for item in step[0]} for step in steps] == [{0}, {1}, {2}]
    assert not any(step[3] for step in steps)


def test_the_schedule_blocked_keeps_to_one_family(make_gates: MakeGates) -> None:
    steps = played(make_gates(schedule="blocked", episodes_per_step=1), 12)
    families = [step[0][0].task.family for step in steps]
    assert len(set(families[:10])) == 1
    assert len(set(families[10:])) == 1
    assert families[9] != families[10]


def test_a_callable_schedule_says_what_comes_next(make_gates: MakeGates) -> None:
    def first_then_both(queue: TaskQueue) -> Sequence[Task]:
        return (*(queue.batches[0] if queue.batches else ()), *queue.draw(1))

    steps = played(make_gates(schedule=first_then_both, families=["law-0001"]), 3)
    ids = [step[4]["task_ids"] for step in steps]
    assert [len(batch) for batch in ids] == [1, 2, 2]
    assert ids[1][0] == ids[2][0] == ids[0][0]
    assert len({*ids[0], *ids[1], *ids[2]}) == 3


def test_a_task_that_comes_twice_in_a_batch_is_played_as_two_repetitions(make_gates: MakeGates) -> None:
    env = make_gates(schedule=lambda queue: [queue.batches[0][0] if queue.batches else queue.draw(1)[0]] * 3)
    steps = played(env, 2)
    assert [item.episode.repetition for step in steps for item in step[0]] == [0, 1, 2, 3, 4, 5]
    assert len({item.episode.seed for step in steps for item in step[0]}) == 6


@pytest.mark.parametrize("batch", [[], None, ["law-0001/1"]])
def test_a_schedule_that_returns_no_batch_is_told_so(make_gates: MakeGates, batch: Any) -> None:
    with pytest.raises(ConfigError, match=r"A schedule must return a non-empty sequence of tasks"):
        make_gates(schedule=lambda queue: batch).reset(seed=0)
