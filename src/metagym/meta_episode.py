"""One meta-episode: which tasks it draws, with which seeds, and how far it is. It plays nothing itself."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from metagym.bad_replies import ReplyCounts, common_problem
from metagym.config import MetaEnvConfig
from metagym.errors import BadBatchError, ConfigError, EpisodesFailedError, TasksExhaustedError, UnknownNameError
from metagym.rendering import first_failure
from metagym.tasks import TaskSet, is_task_list, with_role
from metagym.types import Episode, MetaStep, Task, Trajectory, derive_seed

logger = logging.getLogger(__name__)


class MetaEpisode:
    """The state of one meta-episode. `MetaEnv` holds one, a vector environment one for each prompt."""

    def __init__(
        self,
        task_set: TaskSet,
        config: MetaEnvConfig,
        *,
        rng: np.random.Generator,
        arm: str,
        task_ids: Sequence[str] | None = None,
    ) -> None:
        self.index = 0
        """Number of finished meta-steps."""
        self.run_seed = int(rng.integers(2**31))
        self._config, self.arm = config, arm
        self._schedule: Schedule = make_schedule(config.schedule)
        self._queue = TaskQueue(
            task_set,
            rng=rng,
            batch_size=config.episodes_per_step,
            families=task_set.expand_families(config.families),
            split=config.split,
            task_ids=task_ids,
        )
        self._batch = self._draw_batch()

    def begin(self) -> MetaEpisode:
        """Return this meta-episode if it has tasks for a first meta-step; else raise TasksExhaustedError."""
        if isinstance(self._batch, Exception):
            raise self._batch
        return self

    @property
    def is_exhausted(self) -> bool:
        """Whether too few tasks are left for another meta-step."""
        return isinstance(self._batch, TasksExhaustedError)

    def episodes(self, prompt: str) -> list[Episode]:
        """Return the episodes that the next meta-step plays; TasksExhaustedError if too few tasks are left."""
        if isinstance(self._batch, Exception) and not self.is_exhausted:  # reading a task may fail once
            self._batch = self._draw_batch()
        if isinstance(self._batch, Exception):
            raise self._batch
        return episodes_on(
            self._batch,
            prompt,
            run_seed=self.run_seed,
            arm=self.arm,
            meta_step=self.index,
            times_played=self._queue.times_played,
        )

    def episodes_under(
        self, prompts: Sequence[str], tasks: Sequence[Task], *, arm: str, meta_step: int
    ) -> list[Episode]:
        """Return an episode for each prompt and task, one prompt after another; no two prompts share seeds."""
        episodes: list[Episode] = []
        for group, prompt in enumerate(prompts):
            episodes += episodes_on(tasks, prompt, run_seed=self.run_seed, arm=f"{arm}-{group}", meta_step=meta_step)
        return episodes

    def check(self, meta_step: MetaStep) -> None:
        """Make sure that the current batch, played as `meta_step`, may be finished; change nothing.

        Raises:
            EpisodesFailedError: too many failed.
            BadBatchError: no episode began, all for the same reason.
        """
        trajectories = meta_step.trajectories
        rate = self._config.max_failure_rate
        if meta_step.reward is None or meta_step.num_failed / len(trajectories) > rate:
            failed = [item for item in trajectories if item.score is None]
            error = EpisodesFailedError(
                f"{len(failed)} of {len(trajectories)} episodes failed, more than max_failure_rate={rate:g} allows. "
                f"The first failure: {first_failure(failed)}. The finished episodes are in this error's .meta_step; "
                "the next step plays the failed tasks again.",
                meta_step,
            )
            if trace := next((item.traceback for item in failed if item.traceback), ""):
                error.add_note(f"The first failure in your own code:\n{trace}")
            raise error
        if not self._config.allow_bad_batches and not any(item.steps for item in trajectories):
            check_batch_of(meta_step)  # no episode ever began

    def finish(self, prompt: str, trajectories: tuple[Trajectory, ...]) -> MetaStep:
        """Take the trajectories of the current batch, draw the next batch, and return the meta-step.

        If too many failed, raise EpisodesFailedError: the next meta-step plays their tasks, and the index stays.
        """
        meta_step = meta_step_of(self.index, prompt, trajectories)
        try:
            self.check(meta_step)
        except BadBatchError:
            raise
        except EpisodesFailedError:
            self._queue.give_back([item.task for item in trajectories if item.score is None])
            self._batch = self._draw_batch()
            raise
        if problem := common_problem(trajectories):
            logger.warning("In all %d episodes %s.", len(trajectories), problem)
        else:
            for warning in ReplyCounts(trajectories).warnings:
                logger.warning("Meta-step %d: %s", self.index, warning)
        self._queue.finish([item.task for item in trajectories])
        self.index += 1
        self._batch = self._draw_batch()
        return meta_step

    def _draw_batch(self) -> tuple[Task, ...] | Exception:
        """Draw the next batch ahead, so that `is_exhausted` is known. An error is kept until the batch is needed.

        After an error the same tasks would be drawn again.
        """
        restore = self._queue.keep()
        try:
            return check_batch(self._schedule(self._queue))
        except Exception as error:
            restore()
            return error


def meta_step_of(index: int, prompt: str, trajectories: tuple[Trajectory, ...]) -> MetaStep:
    """Return the trajectories as a meta-step: the reward is the mean over those that did not fail."""
    scores = [item.score for item in trajectories if item.score is not None]
    reward = float(np.mean(scores)) if scores else None
    return MetaStep(index=index, prompt=prompt, trajectories=trajectories, reward=reward)


def check_batch_of(meta_step: MetaStep) -> None:
    """Make sure that the replies of a batch did not all go wrong in the same way.

    Raises:
        BadBatchError: they did; the message holds the remedy.
    """
    if problem := common_problem(meta_step.trajectories):
        raise BadBatchError(
            f"In all {len(meta_step.trajectories)} episodes {problem}. The scores say nothing about the prompt. "
            "allow_bad_batches=True continues all the same.",
            meta_step,
        )


def episodes_on(
    tasks: Sequence[Task],
    prompt: str,
    *,
    run_seed: int,
    arm: str,
    meta_step: int,
    times_played: Mapping[str, int] = MappingProxyType({}),
) -> list[Episode]:
    """Return an episode for each task; a task that is listed twice is played as two repetitions.

    An episode's seed comes from run seed, arm, task and repetition, never from the prompt. `times_played` counts
    how often the arm has played each task id before.
    """
    listed: Counter[str] = Counter()
    episodes: list[Episode] = []
    for task in tasks:
        repetition = times_played.get(task.id, 0) + listed[task.id]
        listed[task.id] += 1
        seed = derive_seed(run_seed, arm, task.id, repetition)
        episodes.append(
            Episode(prompt=prompt, task=task, seed=seed, repetition=repetition, arm=arm, meta_step=meta_step)
        )
    return episodes


def tasks_to_replay(task_set: TaskSet, prompts: object, task_ids: Sequence[str], repetitions: int) -> list[Task]:
    """Return the tasks of a replay, with the repetitions of a task side by side; ConfigError if it cannot be played."""
    if isinstance(prompts, str) or not isinstance(prompts, Sequence) or not is_task_list(task_ids) or not task_ids:
        raise ConfigError(
            f"replay expects a list of prompts and a non-empty list of task ids, got {prompts!r:.80} and "
            f"{task_ids!r:.80}. Write env.replay([prompt], [task_id])."
        )
    if isinstance(repetitions, bool) or not hasattr(repetitions, "__index__") or repetitions < 1:
        raise ConfigError(f"repetitions must be a whole number and at least 1, got {repetitions!r}.")
    return [with_role(task_set.find(task_id)) for task_id in task_ids for _ in range(repetitions)]


class TaskQueue:
    """The tasks of one meta-episode: those that were played, and those that may still be drawn. Schedules use it.

    `batches` holds the batches so far, `times_played` the number of times that each task id was in them, `families` the
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
        self._task_set, self.rng, self._split = task_set, rng, split
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
            self._listed = [with_role(task_set.find(task_id)) for task_id in task_ids]

    def draw(self, num_tasks: int | None = None, *, families: Sequence[str] | None = None) -> tuple[Task, ...]:
        """Draw new tasks, by default a batch from all the meta-episode's families; those that were given back first.

        Tasks that were given back are drawn even if too few new ones are left for a whole batch.
        """
        num_tasks = self.batch_size if num_tasks is None else num_tasks
        names = self._task_set.expand_families(families or self.families)
        again = [task for task in self._returned if self._listed is not None or task.family in names][:num_tasks]
        try:
            new = self._draw_new(num_tasks - len(again), names)
        except TasksExhaustedError as error:
            if not again:
                raise
            new = self._draw_new(error.num_left or 0, names)
        self._returned = [task for task in self._returned if task not in again]
        return (*again, *new)

    def _draw_new(self, num_tasks: int, families: Sequence[str]) -> tuple[Task, ...]:
        if self._listed is None:
            new = self._task_set.draw(num_tasks, rng=self.rng, families=families, split=self._split, exclude=self._seen)
            self._seen.update(task.id for task in new)
            return new
        if len(self._listed) < num_tasks:
            error = TasksExhaustedError(
                f"Expected {num_tasks} more of the given task_ids, {len(self._listed)} are left. "
                "Reset, give more task_ids, or ask for fewer episodes_per_step."
            )
            error.num_left = len(self._listed)
            raise error
        new, self._listed = tuple(self._listed[:num_tasks]), self._listed[num_tasks:]
        return new

    def keep(self) -> Callable[[], None]:
        """Return a function that undoes all later draws."""
        state, kept = self.rng.bit_generator.state, (set(self._seen), self._returned, self._listed)

        def restore() -> None:
            self.rng.bit_generator.state = state
            self._seen, self._returned, self._listed = kept

        return restore

    def finish(self, tasks: Sequence[Task]) -> None:
        """Record that a batch was played."""
        self.batches.append(tuple(tasks))
        self.times_played.update(task.id for task in tasks)

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Put tasks that could not be played, and never were, at the head of the queue."""
        tasks = [task for task in tasks if not self.times_played[task.id]]
        self._returned = [*tasks, *self._returned]


Schedule = Callable[[TaskQueue], Sequence[Task]]
"""Selects the tasks that the next meta-step plays."""


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
    """Return the schedule of that name, or the callable itself."""
    if callable(schedule):
        return schedule
    if schedule not in SCHEDULES:
        raise UnknownNameError.of("schedule", schedule, SCHEDULES, remedy="Or pass a callable.")
    return SCHEDULES[schedule]


def check_batch(batch: object) -> tuple[Task, ...]:
    """Return the result of a schedule, if it is a batch of tasks."""
    if isinstance(batch, Sequence) and batch and all(isinstance(task, Task) for task in batch):
        return tuple(batch)
    raise ConfigError(f"A schedule must return a non-empty sequence of tasks, got {batch!r}.")
