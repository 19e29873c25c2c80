"""What a subclass of MetaEnv defines."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from metagym import MetaEnv, TaskSet, TextAdapter
from metagym.errors import ConfigError, EpisodesFailedError
from metagym.types import Task, Trajectory
from tests.conftest import CorridorEnv
from tests.env.playing import EAST, CorridorMetaEnv, played

pytestmark = pytest.mark.timeout(60)


def test_a_subclass_scores_and_prompts_as_it_likes(corridors: Any) -> None:
    class Short(CorridorMetaEnv):
        default_prompt = "Be quick."

        def score(self, trajectory: Trajectory) -> float:
            return 1 / len(trajectory.steps)

    env = Short(EAST, episodes_per_step=2)
    _, info = env.reset(seed=0)
    assert info["default_prompt"] == "Be quick."
    trajectories, reward, *_ = env.step(info["default_prompt"])
    assert reward == np.mean([1 / len(item.steps) for item in trajectories])
    env.close()


def test_an_environment_can_be_scored_by_progress(make_gates: Any) -> None:
    env = make_gates("demo", score="progress", episodes_per_step=4)
    _, info = env.reset(seed=0)
    trajectories, reward, *_ = env.step(info["default_prompt"])
    assert [item.score for item in trajectories] == [item.progress for item in trajectories]
    assert reward not in (0.0, 1.0)
    assert env.fingerprint["score"] == "progress"


def test_progress_that_the_inner_environment_does_not_report_is_an_error(corridors: Any) -> None:
    env = CorridorMetaEnv(EAST, episodes_per_step=2, score="progress")
    env.reset(seed=0)
    with pytest.raises(
        EpisodesFailedError, match=r"score='progress' needs an inner environment that reports info\['progress'\]"
    ):
        env.step("Go east.")
    env.close()


def test_progress_that_is_missing_at_the_end_is_an_error_with_its_own_remedy() -> None:
    class Forgets(CorridorEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            text, info = super().reset(seed=seed, options=options)
            return text, {**info, "progress": 0.0}

    class ForgetsMetaEnv(CorridorMetaEnv):
        def make_inner_env(self) -> Any:
            return Forgets()

    with ForgetsMetaEnv(EAST, episodes_per_step=1, score="progress") as env:
        env.reset(seed=0)
        with pytest.raises(EpisodesFailedError, match=r"info\['progress'\] in every step, got nothing in the last"):
            env.step("Go east.")


def test_the_option_score_is_refused_if_a_subclass_has_a_score_of_its_own() -> None:
    class Short(CorridorMetaEnv):
        def score(self, trajectory: Trajectory) -> float:
            return 0.0

    with pytest.raises(ConfigError, match="score='progress' has no effect: Short has its own score"):
        Short(EAST, score="progress")


def test_a_meta_environment_over_a_gymnasium_environment_is_twenty_lines() -> None:
    class LakeMetaEnv(MetaEnv):
        default_prompt = "Cross the lake."

        def make_inner_env(self) -> TextAdapter:
            lake = gymnasium.make("FrozenLake-v1", is_slippery=True)
            return TextAdapter(lake, actions=["left", "down", "right", "up"], render=lambda o, info: f"Field {o}.")

        def make_task_set(self) -> TaskSet:
            return TaskSet.from_seeds(
                self.make_inner_env, 100, digest=lambda env, task: str(task.seed), families=["lake"]
            )

    with LakeMetaEnv("random", episodes_per_step=3) as env:
        check_env(env, skip_render_check=True)
        assert [len(step[0]) for step in played(env, 2)] == [3, 3]


def test_a_subclass_is_told_what_it_has_to_write() -> None:
    class Empty(MetaEnv):
        pass

    class NoGame(Empty):
        def make_task_set(self) -> TaskSet:
            return TaskSet.from_seeds(self.make_inner_env, 10)

    with pytest.raises(NotImplementedError, match=r"Expected Empty to override make_task_set\(\), got nothing: return"):
        Empty("random")
    with NoGame("random") as env, pytest.raises(NotImplementedError, match=r"NoGame to override make_inner_env"):
        env.reset(seed=0)


@pytest.mark.parametrize("tasks", [None, [Task(id="a", family="a", seed=1)]])
def test_make_task_set_returns_a_task_set(tasks: Any) -> None:
    class NoTasks(CorridorMetaEnv):
        def make_task_set(self) -> Any:
            return tasks

    with pytest.raises(ConfigError, match=r"Expected make_task_set to return a metagym.TaskSet, got .*ListedTaskSet"):
        NoTasks("random")


def test_a_subclass_without_a_demo_actor_asks_for_one() -> None:
    with pytest.raises(ConfigError, match=r"CorridorMetaEnv has no demo actor. Pass actor="):
        CorridorMetaEnv("demo")


def test_a_subclass_may_have_defaults_of_its_own(corridors: Any) -> None:
    class Three(CorridorMetaEnv):
        default_options = {"episodes_per_step": 3}

    env = Three(EAST)
    assert env.config.episodes_per_step == 3
    assert Three(EAST, episodes_per_step=1).config.episodes_per_step == 1
