"""How an episode ends: its stop reason, its failures and its score."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from metagym import ChatActor
from metagym.actor import FunctionActor
from metagym.errors import ContextOverflowError, ModelError
from metagym.rollout import default_score, run_episode
from metagym.testing import FakeChatModel, ScriptedActor
from metagym.types import Action, Episode, Observation, Step, StopReason, Trajectory, Usage
from metagym.workers import LocalWorkers
from tests.conftest import CorridorEnv, make_episode, make_step, make_task, make_trajectory, reply
from tests.rollout.playing import EAST, play

pytestmark = pytest.mark.timeout(30)

# Why an episode ends ----------------------------------------------------------------------------------


def test_a_terminated_episode_keeps_the_environments_own_word_for_the_end() -> None:
    trajectory = play(EAST, lambda: CorridorEnv(info={"outcome": "reached the end"}))
    assert (trajectory.stop_reason, trajectory.stop_detail) == (StopReason.TERMINATED, "reached the end")


def test_an_episode_that_the_environment_cuts_off_is_truncated() -> None:
    trajectory = play(ScriptedActor(["west"]), lambda: CorridorEnv(limit=3))
    assert (trajectory.stop_reason, len(trajectory.steps)) == (StopReason.TRUNCATED, 3)


def test_an_episode_that_is_terminated_and_truncated_at_its_last_step_is_terminated() -> None:
    assert play(EAST, lambda: CorridorEnv(limit=3)).stop_reason is StopReason.TERMINATED


def test_an_episode_that_takes_too_many_steps_reaches_the_step_limit() -> None:
    trajectory = play(ScriptedActor(["west"]), max_steps=4)
    assert (trajectory.stop_reason, len(trajectory.steps)) == (StopReason.STEP_LIMIT, 4)


def test_a_conversation_that_grows_too_long_is_data_and_counts() -> None:
    model = FakeChatModel(["Action: east", ContextOverflowError("too long")])
    trajectory = play(ChatActor(model))
    assert (trajectory.stop_reason, len(trajectory.steps)) == (StopReason.CONTEXT_OVERFLOW, 1)
    assert (trajectory.score, trajectory.success, trajectory.error) == (0.0, False, "")


def test_an_infrastructure_error_ends_the_episode_without_a_score() -> None:
    model = FakeChatModel(["Action: east", ModelError("the server is down")])
    trajectory = play(ChatActor(model))
    assert (trajectory.stop_reason, trajectory.score) == (StopReason.ERROR, None)
    assert trajectory.error == "ModelError: the server is down"
    assert trajectory.success is None


def test_steps_before_a_failure_are_kept_and_counted() -> None:
    model = FakeChatModel(["Action: east", "Action: east", ModelError("down")])
    trajectory = play(ChatActor(model))
    assert [step.command for step in trajectory.steps] == ["east", "east"]
    assert trajectory.usage.num_calls == 2


def test_the_engine_does_not_retry_a_failed_model() -> None:
    model = FakeChatModel([ModelError("down")])
    play(ChatActor(model), attempts=5)
    assert len(model.calls) == 1


def test_an_episode_whose_environment_fails_is_played_again_up_to_a_limit() -> None:
    resets: list[int] = []

    def broken(where: str) -> None:
        if where == "reset":
            resets.append(1)
            if len(resets) < 3:
                raise OSError("not yet")

    assert play(EAST, lambda: CorridorEnv(broken=broken), attempts=3).score == 1.0
    assert len(resets) == 3


def test_an_environment_that_raises_at_each_attempt_ends_in_an_error() -> None:
    made: list[CorridorEnv] = []

    def broken(where: str) -> None:
        if where == "step east" and made[-1].commands:
            raise OSError("the floor gave way")

    def make() -> CorridorEnv:
        made.append(CorridorEnv(broken=broken))
        return made[-1]

    trajectory = play(EAST, make, attempts=2)
    assert trajectory.stop_reason is StopReason.ERROR
    assert (
        trajectory.error.partition(" (tests")[0]
        == "InnerEnvError: The inner environment raised in step('east'): OSError: the floor gave way"
    )
    assert len(trajectory.steps) == 1
    assert len(made) == 2


def test_an_episode_whose_actor_raises_is_not_played_again() -> None:
    asked: list[int] = []

    def act(*args: Any) -> str:
        asked.append(1)
        raise ZeroDivisionError("oops")

    trajectory = play(FunctionActor(act), attempts=5)
    assert (trajectory.error.partition(" (tests")[0], trajectory.score) == ("ZeroDivisionError: oops", None)
    assert len(asked) == 1


@pytest.mark.parametrize("answer", [None, 3, {"text": "east"}])
def test_an_actor_that_returns_no_action_ends_the_episode_with_an_error(answer: Any) -> None:
    assert play(FunctionActor(lambda *args: answer)).stop_reason is StopReason.ERROR


@pytest.mark.parametrize("info", [None, {"goal": 3}, {"available_actions": 5}, {"available_actions": (1, 2)}])
def test_an_environment_with_an_invalid_info_ends_the_episode_with_an_error(info: Any) -> None:
    class Odd(CorridorEnv):
        def _info(self) -> Any:
            return info

    assert play(EAST, Odd).stop_reason is StopReason.ERROR


# Scores -----------------------------------------------------------------------------------------------


def test_the_default_score_is_success_if_it_is_reported_else_the_return() -> None:
    steps = [make_step(reward=0.25), make_step(reward=0.5)]
    assert default_score(make_trajectory(steps, success=True)) == 1.0
    assert default_score(make_trajectory(steps, success=False)) == 0.0
    assert default_score(make_trajectory(steps, success=None)) == 0.75


def test_a_positive_reward_is_no_success_if_the_environment_reports_none() -> None:
    class Bait(CorridorEnv):
        def step(self, action: str) -> Any:
            text, _, _, truncated, info = super().step(action)
            return text, 0.5, True, truncated, {**info, "success": False}

    trajectory = play(EAST, Bait)
    assert (trajectory.episode_return, trajectory.success, trajectory.score) == (0.5, False, 0.0)


def test_an_environment_that_reports_no_success_leaves_it_open() -> None:
    trajectory = play(EAST, lambda: CorridorEnv(report_success=False))
    assert (trajectory.success, trajectory.score) == (None, 1.0)


def test_a_users_score_counts() -> None:
    assert play(EAST, score=lambda trajectory: -len(trajectory.steps)).score == -3.0


def test_a_score_that_raises_ends_the_episode_with_an_error() -> None:
    def score(trajectory: Trajectory) -> float:
        raise KeyError("weights")

    trajectory = play(EAST, score=score)
    assert (trajectory.stop_reason, trajectory.score) == (StopReason.ERROR, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", b"1", None, 1j, 10**400, np.ones(2), [1.0]])
def test_a_score_that_is_no_finite_number_ends_the_episode_with_an_error(value: Any) -> None:
    trajectory = play(EAST, score=lambda trajectory: value)
    assert (trajectory.stop_reason, trajectory.score) == (StopReason.ERROR, None)
    assert trajectory.error.startswith("ContractError: A score must be a finite number, got ")


def test_the_usage_is_the_sum_over_the_steps() -> None:
    usage = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=2, num_calls=1)
    model = FakeChatModel([reply("Action: east", usage=usage)])
    assert play(ChatActor(model)).usage == usage + usage + usage


def test_a_trajectory_records_whether_a_scripted_actor_played_and_its_revision() -> None:
    class Trained:
        revision = "step-7"

        async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
            return Action(text="east")

    assert play(EAST).scripted
    trajectory = play(Trained())
    assert (trajectory.scripted, trajectory.actor_revision) == (False, "step-7")


def test_run_episode_plays_one_episode_on_one_environment() -> None:
    async def main() -> Trajectory:
        async with LocalWorkers(CorridorEnv).lease() as env:
            return await run_episode(make_episode(task=make_task(seed=2)), EAST, env)

    assert asyncio.run(main()) == play(EAST)
