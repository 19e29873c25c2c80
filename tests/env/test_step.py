"""Spaces, reset and step: the contract of docs/contract.md, one law a test."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from metagym import ChatActor
from metagym.errors import (
    ConfigError,
    InvalidPromptError,
    TasksExhaustedError,
    UnknownNameError,
)
from metagym.spaces import PromptSpace, TrajectorySpace
from metagym.testing import FakeChatModel
from metagym.types import Trajectory
from tests.conftest import MakeGates
from tests.env.playing import ids_of, played

pytestmark = pytest.mark.timeout(60)


def test_the_spaces_are_prompts_and_batches_of_trajectories(make_gates: MakeGates) -> None:
    env = make_gates()
    assert env.action_space == PromptSpace()
    assert env.observation_space == TrajectorySpace()


def test_reset_plays_nothing_and_calls_no_model(make_gates: MakeGates) -> None:
    model = FakeChatModel(["Action: knock"])
    env = make_gates(ChatActor(model))
    observation, info = env.reset(seed=0)
    assert observation == ()
    assert info["default_prompt"] == env.default_prompt
    assert (model.calls, env.ledger.num_episodes) == ([], 0)


def test_step_returns_gymnasiums_five_values(make_gates: MakeGates) -> None:
    env = make_gates()
    env.reset(seed=0)
    trajectories, reward, terminated, truncated, info = env.step("Be brave.")
    assert trajectories in env.observation_space
    assert [type(item) for item in trajectories] == [Trajectory] * 5
    assert (type(reward), type(terminated), type(truncated), type(info)) == (float, bool, bool, dict)
    assert {item.episode.prompt for item in trajectories} == {"Be brave."}


def test_the_reward_is_the_mean_score(make_gates: MakeGates) -> None:
    for trajectories, reward, *_ in played(make_gates("random", max_steps=40, invalid="execute"), 4):
        assert reward == np.mean([item.score for item in trajectories])


def test_step_before_reset_is_refused(make_gates: MakeGates) -> None:
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"Call env.reset\(\) before"):
        make_gates().step("p")


@pytest.mark.parametrize("prompt", [None, 3, b"go", "a\ud800", "x" * 100_001, ["p"]])
def test_what_is_no_prompt_is_refused_and_nothing_is_played(make_gates: MakeGates, prompt: Any) -> None:
    env = make_gates()
    env.reset(seed=0)
    with pytest.raises(InvalidPromptError, match=r"is a system prompt: expected .* Pass a str of at most 100,000"):
        env.step(prompt)
    assert env.ledger.num_episodes == 0
    _, _, _, _, info = env.step("p")
    assert info["task_ids"] == tuple(ids_of(played(make_gates(), 1)))


def test_task_ids_give_the_meta_episodes_tasks_in_order(make_gates: MakeGates) -> None:
    ids = [f"law-00{n:02d}/{n}" for n in range(6)]
    env = make_gates(episodes_per_step=2)
    env.reset(seed=0, options={"task_ids": ids})
    steps = [env.step("p") for _ in range(3)]
    assert [step[4]["task_ids"] for step in steps] == [tuple(ids[0:2]), tuple(ids[2:4]), tuple(ids[4:6])]
    assert [step[3] for step in steps] == [False, False, True]
    with pytest.raises(TasksExhaustedError, match=r"Expected 2 more of the given task_ids, 0 are left"):
        env.step("p")


def test_task_ids_may_be_of_any_split(make_gates: MakeGates) -> None:
    env = make_gates(episodes_per_step=1)
    for split in ("validation", "test"):
        task = env.task_set.draw(1, rng=np.random.default_rng(0), split=split)[0]
        env.reset(options={"task_ids": [task.id]})
        assert env.step("p")[0][0].task == task


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"task_ids": ["law-9999/0"]}, UnknownNameError, r"Unknown task id 'law-9999/0'"),
        ({"task_ids": "law-0001/0"}, ConfigError, r"must be a list of task ids, got 'law-0001/0'"),
        ({"task_ids": [3]}, ConfigError, r"must be a list of task ids, got \[3\]"),
        ({"task_ids": ["law-0001/0"] * 2}, ConfigError, r"must not repeat within a meta-episode"),
        ({"task_ids": []}, TasksExhaustedError, r"0 are left"),
        ({"tasks": []}, ConfigError, r"Unknown reset option 'tasks': expected 'task_ids'"),
    ],
)
def test_wrong_reset_options_are_typed_errors(
    make_gates: MakeGates, options: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        make_gates().reset(options=options)
