"""A meta-episode after failures: it goes on with the tasks that an undisturbed one plays."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

from metagym import MetaEnv, TaskSet
from metagym.envs.gates import GatesTaskSet
from metagym.envs.gates.demo import GatesDemoActor
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import EpisodesFailedError
from metagym.meta_episode import TaskQueue, blocked
from metagym.spaces import TextSpace
from metagym.tasks import ListedTaskSet
from metagym.types import Action, Episode, Observation, Step, Task
from tests.conftest import MakeGates


class Level(gymnasium.Env[str, str]):
    """A level whose n-th reset fails, as that of a server that is away for a moment."""

    observation_space = action_space = TextSpace()
    left: ClassVar[int] = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        Level.left -= 1
        if Level.left == 0:
            raise ConnectionError("one hiccup")
        return f"level {seed}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "done", 1.0, True, False, {}


class LevelMetaEnv(MetaEnv):
    default_prompt = "Play."
    make_inner_env = staticmethod(Level)

    def make_task_set(self) -> TaskSet:
        return TaskSet.from_seeds(Level, 500)


def levels_played(*, hiccup_after: int = -1) -> list[str]:
    with LevelMetaEnv("random", episodes_per_step=2) as env:
        env.reset(seed=0)
        played, Level.left = [], hiccup_after
        for _ in range(4):
            try:
                played += env.step("Play.")[4]["task_ids"]
            except ConnectionError:
                played += env.step("Play.")[4]["task_ids"]
    return played


def test_a_hiccup_while_a_task_is_read_changes_no_task_and_ends_nothing() -> None:
    assert levels_played(hiccup_after=3) == levels_played()


def test_a_hiccup_between_two_draws_of_a_schedule_changes_no_task() -> None:
    def played(hiccup_at: int) -> list[tuple[str, ...]]:
        class Tasks(GatesTaskSet):
            def draw(self, *args: Any, **options: Any) -> tuple[Task, ...]:
                if next(draws) == hiccup_at:
                    raise ConnectionError("one hiccup")
                return super().draw(*args, **options)

        class Env(GatesMetaEnv):
            make_task_set = staticmethod(Tasks)

        def draws_twice(queue: TaskQueue) -> Sequence[Task]:
            return *queue.draw(1), *queue.draw(1)

        draws = itertools.count(1)
        with Env("demo", episodes_per_step=2, schedule=draws_twice) as env:
            env.reset(seed=0)
            steps = []
            while len(steps) < 3:
                with contextlib.suppress(ConnectionError):
                    steps.append(env.step("Play.")[4]["task_ids"])
        return steps

    assert played(hiccup_at=4) == played(hiccup_at=0)


def test_given_tasks_are_all_played_after_a_hiccup_between_two_draws(make_gates: MakeGates) -> None:
    def fails_once(queue: TaskQueue) -> Sequence[Task]:
        first = queue.draw(1)
        if next(calls) == 1:
            raise ConnectionError("one hiccup")
        return *first, *queue.draw(1)

    calls = itertools.count()
    ids = [f"law-0001/{seed}" for seed in range(4)]
    env = make_gates("demo", episodes_per_step=2, schedule=fails_once)
    env.reset(seed=0, options={"task_ids": ids})
    first = env.step("Play.")[4]["task_ids"]
    assert [*first, *env.step("Play.")[4]["task_ids"]] == ids


class Sick(GatesDemoActor):
    is_sick = False

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        if self.is_sick:
            raise ValueError("sick")
        return await super().act(episode, steps, observation)


def twice(queue: TaskQueue) -> Sequence[Task]:
    return queue.batches[-1] if len(queue.batches) % 2 else queue.draw()


def test_tasks_that_were_played_do_not_come_back_as_new_ones(make_gates: MakeGates) -> None:
    actor = Sick()
    env = make_gates(actor, episodes_per_step=2, schedule=twice)
    _, info = env.reset(seed=0)
    first = env.step(info["default_prompt"])[4]["task_ids"]
    actor.is_sick = True
    with pytest.raises(EpisodesFailedError):
        env.step(info["default_prompt"])
    actor.is_sick = False
    again, new = (env.step(info["default_prompt"])[4]["task_ids"] for _ in range(2))
    assert again == first
    assert not set(new) & set(first)


class SickOn(GatesDemoActor):
    """Fails on these tasks."""

    tasks: tuple[str, ...] = ()

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        if episode.task.id in self.tasks:
            raise ValueError("sick")
        return await super().act(episode, steps, observation)


@pytest.mark.parametrize("is_listed", [True, False])
def test_failed_tasks_are_played_again_if_too_few_new_ones_are_left(make_gates: MakeGates, is_listed: bool) -> None:
    class Few(GatesMetaEnv):
        def make_task_set(self) -> TaskSet:
            return ListedTaskSet(tasks)

    tasks = GatesTaskSet().draw(6, rng=np.random.default_rng(0), families=["law-0007"])
    actor = SickOn()
    env = make_gates(actor, cls=Few, episodes_per_step=5)
    env.reset(seed=0, options={"task_ids": [task.id for task in tasks]} if is_listed else None)
    actor.tasks = tuple(task.id for task in tasks)
    with pytest.raises(EpisodesFailedError) as error:
        env.step(env.default_prompt)
    batch = [item.task.id for item in error.value.meta_step.trajectories]
    actor.tasks = (batch[-1],)
    with pytest.raises(EpisodesFailedError, match="the next step plays the failed tasks again"):
        env.step(env.default_prompt)
    actor.tasks = ()
    _, _, _, truncated, info = env.step(env.default_prompt)
    (last,) = {task.id for task in tasks} - set(batch)
    assert (info["task_ids"], truncated) == ((batch[-1], last), True)


def test_exactly_the_tolerated_share_of_a_batch_may_fail(make_gates: MakeGates) -> None:
    class SickOnSome(Sick):
        num_left = 29

        async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
            self.is_sick = not steps and self.num_left > 0
            self.num_left -= not steps
            return await super().act(episode, steps, observation)

    env = make_gates(SickOnSome(), episodes_per_step=100, max_failure_rate=0.29, max_steps=1)
    _, info = env.reset(seed=0)
    assert env.step(info["default_prompt"])[4]["num_failed"] == 29


def test_a_step_that_was_cut_off_leaves_the_budget_as_it_was(make_gates: MakeGates) -> None:
    failing = [OSError("disk full")]

    def on_episode(trajectory: Any) -> None:
        if failing:
            raise failing.pop()

    env = make_gates("demo", budget={"episodes": 5}, on_episode=on_episode)
    _, info = env.reset(seed=0)
    with pytest.raises(OSError, match="disk full"):
        env.step(info["default_prompt"])
    assert env.ledger.used.episodes == 0
    env.step(info["default_prompt"])
    assert env.ledger.used.episodes == 5


def test_two_schedules_of_one_function_have_two_fingerprints(make_gates: MakeGates) -> None:
    schedules = [make_gates(schedule=partial(blocked, meta_steps=num)).fingerprint["schedule"] for num in (2, 5)]
    assert schedules[0] != schedules[1]
    assert schedules[0]["keywords"] == {"meta_steps": 2}
