"""Queues and schedules: which tasks the next meta-step plays, each once, returned tasks first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metagym.errors import ConfigError, TasksExhaustedError, UnknownNameError
from metagym.meta_episode import TaskQueue, blocked, check_batch, fresh, make_schedule, same
from metagym.tasks import TaskSet
from metagym.types import Task
from tests.conftest import make_task
from tests.tasks.test_tasks import listed


def queue_of(task_set: TaskSet, *, seed: int = 0, **options: Any) -> TaskQueue:
    defaults = {"batch_size": 3, "families": task_set.families, "split": "train"}
    return TaskQueue(task_set, rng=np.random.default_rng(seed), **{**defaults, **options})


def test_no_task_comes_twice_in_a_meta_episode() -> None:
    queue = queue_of(listed(30))
    drawn = [task.id for _ in range(10) for task in queue.draw()]
    assert len(set(drawn)) == 30
    with pytest.raises(TasksExhaustedError, match=r"after 30 played"):
        queue.draw()


def test_given_back_tasks_come_first() -> None:
    queue = queue_of(listed(30))
    first = queue.draw()
    queue.give_back(first[1:])
    second = queue.draw()
    assert second[:2] == first[1:]
    assert second[2] not in first


def test_given_back_tasks_come_before_those_given_back_earlier() -> None:
    for queue in (queue_of(listed(30)), queue_of(listed(30), task_ids=[f"task-{n}" for n in range(9)])):
        first, second = queue.draw(), queue.draw()
        queue.give_back(first)
        queue.give_back(second)
        assert (*queue.draw(), *queue.draw()) == (*second, *first)


def test_given_back_tasks_come_once() -> None:
    queue = queue_of(listed(30))
    queue.give_back(queue.draw())
    drawn = [task.id for _ in range(10) for task in queue.draw()]
    assert len(set(drawn)) == 30


def test_a_given_back_task_waits_for_its_family() -> None:
    queue = queue_of(listed(30))
    lost = queue.draw(1, families=["a"])
    queue.give_back(lost)
    assert lost[0] not in queue.draw(families=["b"])
    assert queue.draw(families=["ab"])[0] == lost[0]


def test_listed_task_ids_come_in_order() -> None:
    ids = ["task-7", "task-1", "task-9", "task-3"]
    queue = queue_of(listed(), task_ids=ids, batch_size=2)
    first = queue.draw()
    queue.give_back(first[1:])
    assert [task.id for task in (*first, *queue.draw())] == ["task-7", "task-1", "task-1", "task-9"]
    with pytest.raises(TasksExhaustedError, match=r"Expected 2 more of the given task_ids, 1 are left"):
        queue.draw()


def test_repeated_task_ids_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"must not repeat within a meta-episode; `replay` plays a task again"):
        queue_of(listed(), task_ids=["task-1", "task-1"])


def batches_of(queue: TaskQueue, schedule: Any, num_batches: int) -> Iterator[tuple[Task, ...]]:
    for _ in range(num_batches):
        batch = tuple(schedule(queue))
        queue.finish(batch)
        yield batch


def test_fresh_draws_new_tasks_each_time() -> None:
    batches = list(batches_of(queue_of(listed(30)), fresh, 5))
    assert len({task.id for batch in batches for task in batch}) == 15


def test_same_draws_the_first_batch_again() -> None:
    batches = list(batches_of(queue_of(listed(30)), same, 4))
    assert batches == [batches[0]] * 4


def test_the_queue_counts_how_often_a_task_was_played() -> None:
    queue = queue_of(listed(30))
    batches = list(batches_of(queue, same, 4))
    assert queue.times_played == {task.id: 4 for task in batches[0]}


def test_blocked_keeps_to_a_family_for_a_block() -> None:
    def twice(queue: TaskQueue) -> Any:
        return blocked(queue, meta_steps=2)

    batches = list(batches_of(queue_of(listed(60)), twice, 6))
    families = [{task.family for task in batch} for batch in batches]
    assert [len(names) for names in families] == [1] * 6
    assert families[0] == families[1]
    assert families[2] == families[3]
    assert len({next(iter(names)) for names in families}) == 3


def test_the_order_of_the_blocks_depends_on_the_seed() -> None:
    orders = {queue_of(listed(), seed=seed).families for seed in range(20)}
    assert len(orders) > 1
    assert queue_of(listed(), seed=3).families == queue_of(listed(), seed=3).families


def test_schedules_are_named_or_callable() -> None:
    assert [make_schedule(name) for name in ("fresh", "same", "blocked")] == [fresh, same, blocked]
    assert make_schedule(fresh) is fresh
    with pytest.raises(UnknownNameError, match=r"Unknown schedule 'frehs'.*Did you mean 'fresh'\? Or pass a callable"):
        make_schedule("frehs")


@pytest.mark.parametrize("batch", [[], None, "tasks", ["task-1"], iter([make_task()])])
def test_what_a_schedule_returns_must_be_a_batch(batch: Any) -> None:
    with pytest.raises(ConfigError, match=r"A schedule must return a non-empty sequence of tasks, got"):
        check_batch(batch)
