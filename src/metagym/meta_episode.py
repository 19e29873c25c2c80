"""One meta-episode: which tasks come, with which chance, and how far it is. It plays nothing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from metagym.config import MetaEnvConfig
from metagym.errors import EpisodesFailedError, TasksExhaustedError
from metagym.schedules import Schedule, TaskQueue, check_batch, make_schedule
from metagym.seeding import derive_seed
from metagym.tasks import TaskSet
from metagym.types import Episode, MetaStep, Task, Trajectory


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
        """How many meta-steps are finished."""
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
        self._batch = self._draw()

    def begin(self) -> MetaEpisode:
        """Return this meta-episode, where there are tasks to begin with.

        Raises:
            TasksExhaustedError: there are too few for one meta-step. An error of a schedule is raised here, too.
        """
        if isinstance(self._batch, Exception):
            raise self._batch
        return self

    @property
    def is_exhausted(self) -> bool:
        """Whether too few tasks are left for another meta-step."""
        return isinstance(self._batch, TasksExhaustedError)

    def episodes(self, prompt: str) -> list[Episode]:
        """Return what the next meta-step plays under `prompt`.

        Raises:
            TasksExhaustedError: too few tasks are left. An error of a schedule is raised here, too.
        """
        if isinstance(self._batch, Exception):
            raise self._batch
        return self.episodes_on(self._batch, prompt, arm=self.arm, times_played=self._queue.times_played)

    def episodes_on(
        self,
        tasks: Sequence[Task],
        prompt: str,
        *,
        arm: str,
        times_played: Mapping[str, int] | None = None,
        index: int | None = None,
    ) -> list[Episode]:
        """Return an episode for each task; a task that comes twice comes as two repetitions.

        Each has its own chance: from run seed, arm, task and repetition, never from the prompt. They belong to the
        meta-step `index`, by default the next one.
        """
        index = self.index if index is None else index
        before: Mapping[str, int] = times_played or {}
        again: Counter[str] = Counter()
        episodes: list[Episode] = []
        for task in tasks:
            repetition = before.get(task.id, 0) + again[task.id]
            again[task.id] += 1
            seed = derive_seed(self.run_seed, arm, task.id, repetition)
            episodes.append(
                Episode(prompt=prompt, task=task, seed=seed, repetition=repetition, arm=arm, meta_step=index)
            )
        return episodes

    def episodes_under(
        self, prompts: Sequence[str], tasks: Sequence[Task], *, arm: str, index: int | None = None
    ) -> list[Episode]:
        """Return an episode for each prompt and task, one prompt after another; prompts share no chance."""
        return [
            episode
            for group, prompt in enumerate(prompts)
            for episode in self.episodes_on(tasks, prompt, arm=f"{arm}-{group}", index=index)
        ]

    def meta_steps(
        self, prompts: Sequence[str], trajectories: tuple[Trajectory, ...], *, index: int | None = None
    ) -> tuple[MetaStep, ...]:
        """Return what `episodes_under` gave to play, as one meta-step a prompt."""
        size = len(trajectories) // max(1, len(prompts))
        return tuple(
            self.meta_step(prompt, trajectories[group * size : (group + 1) * size], index=index)
            for group, prompt in enumerate(prompts)
        )

    def meta_step(self, prompt: str, trajectories: tuple[Trajectory, ...], *, index: int | None = None) -> MetaStep:
        """Return the trajectories as a meta-step: the reward is the mean over those that did not fail."""
        index = self.index if index is None else index
        scores = [item.score for item in trajectories if item.score is not None]
        reward = float(np.mean(scores)) if scores else None
        return MetaStep(index=index, prompt=prompt, trajectories=trajectories, reward=reward)

    def finish(self, prompt: str, trajectories: tuple[Trajectory, ...]) -> MetaStep:
        """Take what was played, go on to the next batch, and return the meta-step.

        Raises:
            EpisodesFailedError: too many failed; their tasks come again, and the index stays.
        """
        meta_step = self.meta_step(prompt, trajectories)
        rate = self._config.max_failure_rate
        if meta_step.reward is None or meta_step.num_failed > rate * len(trajectories):
            self._queue.give_back([item.task for item in trajectories if item.score is None])
            self._batch = self._draw()
            raise _failure(meta_step, rate)
        self._queue.finish([item.task for item in trajectories])
        self.index += 1
        self._batch = self._draw()
        return meta_step

    def _draw(self) -> tuple[Task, ...] | Exception:
        """Draw the next batch ahead, to say whether there is one. An error waits until the batch is asked for."""
        try:
            return check_batch(self._schedule(self._queue))
        except Exception as error:
            return error


def _failure(meta_step: MetaStep, rate: float) -> EpisodesFailedError:
    first = next(item.error for item in meta_step.trajectories if item.score is None)
    return EpisodesFailedError(
        f"{meta_step.num_failed} of {len(meta_step.trajectories)} episodes failed, more than max_failure_rate="
        f"{rate:g} allows. The first failure: {first} What was played is in this error's .meta_step; the failed "
        "tasks come again in the next step.",
        meta_step,
    )
