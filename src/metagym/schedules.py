"""Schedules: which tasks the next meta-step plays, and the queue that they draw from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from metagym.errors import ConfigError, TasksExhaustedError, UnknownNameError
from metagym.tasks import TaskSet
from metagym.types import Task


class TaskQueue:
    """The tasks of one meta-episode: which came, which may still come. Schedules draw from it.

    `batches` holds the batches so far, `times_played` how often each task id came in them, `families` the
    meta-episode's families in a random order.
    """

    def __init__(
        self,
        task_set: TaskSet,
        *,
        rng: np.random.Generator,
        batch_size: int,
        families: Sequence[str],
        split: str,
        task_ids: Sequence[str] | None = None,
    ) -> None:
        self._task_set, self._rng, self._split = task_set, rng, split
        self.batch_size = batch_size
        self.batches: list[tuple[Task, ...]] = []
        self.times_played: Counter[str] = Counter()
        self.families = tuple(families[index] for index in rng.permutation(len(families)))
        self._seen: set[str] = set()
        self._returned: list[Task] = []
        self._listed: list[Task] | None = None
        if task_ids is not None:
            if len(set(task_ids)) < len(task_ids):
                raise ConfigError("task_ids must not repeat within a meta-episode; `replay` plays a task again.")
            self._listed = [task_set.find(task_id) for task_id in task_ids]

    def draw(self, num_tasks: int | None = None, *, families: Sequence[str] | None = None) -> tuple[Task, ...]:
        """Draw new tasks, by default a batch from all the meta-episode's families.

        Tasks that were given back come first.

        Raises:
            TasksExhaustedError: too few are left.
        """
        num_tasks = self.batch_size if num_tasks is None else num_tasks
        if self._listed is not None:
            if len(self._listed) < num_tasks:
                raise TasksExhaustedError(
                    f"Expected {num_tasks} more of the given task_ids, {len(self._listed)} are left. "
                    "Reset, give more task_ids, or ask for fewer episodes_per_step."
                )
            batch, self._listed = tuple(self._listed[:num_tasks]), self._listed[num_tasks:]
            return batch
        wanted = set(self._task_set.expand_families(families or self.families))
        again = [task for task in self._returned if task.family in wanted][:num_tasks]
        fresh = self._task_set.draw(
            num_tasks - len(again),
            rng=self._rng,
            families=families or self.families,
            split=self._split,
            exclude=self._seen,
        )
        self._seen.update(task.digest for task in fresh)
        self._returned = [task for task in self._returned if task not in again]
        return (*again, *fresh)

    def finish(self, tasks: Sequence[Task]) -> None:
        """Note that a batch was played."""
        self.batches.append(tuple(tasks))
        self.times_played.update(task.id for task in tasks)

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Put tasks that could not be played at the head of the queue."""
        if self._listed is not None:
            self._listed = [*tasks, *self._listed]
        else:
            self._returned = [*tasks, *self._returned]


Schedule = Callable[[TaskQueue], Sequence[Task]]
"""Says which tasks the next meta-step plays."""


def fresh(queue: TaskQueue) -> Sequence[Task]:
    """Schedule: new tasks from all families at each meta-step."""
    return queue.draw()


def same(queue: TaskQueue) -> Sequence[Task]:
    """Schedule: the first batch again at each meta-step (retries within a task)."""
    return queue.batches[0] if queue.batches else queue.draw()


def blocked(queue: TaskQueue, *, meta_steps: int = 10) -> Sequence[Task]:
    """Schedule: one family for `meta_steps` meta-steps, then the next one, in random order."""
    block = len(queue.batches) // meta_steps
    return queue.draw(families=[queue.families[block % len(queue.families)]])


SCHEDULES: dict[str, Schedule] = {"fresh": fresh, "same": same, "blocked": blocked}


def make_schedule(schedule: str | Schedule) -> Schedule:
    """Return the schedule of that name, or the callable itself.

    Raises:
        UnknownNameError: there is no schedule of that name.
    """
    if callable(schedule):
        return schedule
    if schedule not in SCHEDULES:
        raise UnknownNameError.of("schedule", schedule, SCHEDULES, remedy="Or pass a callable.")
    return SCHEDULES[schedule]


def check_batch(batch: object) -> tuple[Task, ...]:
    """Return what a schedule returned, where it is a batch.

    Raises:
        ConfigError: it is empty, or no sequence of tasks.
    """
    if isinstance(batch, Sequence) and batch and all(isinstance(task, Task) for task in batch):
        return tuple(batch)
    raise ConfigError(f"A schedule must return a non-empty sequence of tasks, got {batch!r}.")
