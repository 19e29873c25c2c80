"""The one meta-loop: N plays and N reflections give N + 1 prompts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from metagym import ChatReflector, optimize
from metagym.envs.gates.demo import GatesDemoReflector
from metagym.errors import ConfigError, EpisodesFailedError, InfrastructureError, InvalidPromptError, ModelError
from metagym.evaluation.controls import ChangedExperience, take_away
from metagym.optimizers import OptimizationResult
from metagym.reflectors.method import ReflectionMethod
from metagym.runs import RunFolder
from metagym.testing import FakeChatModel, ScriptedActor
from metagym.types import MetaStep, Reflection
from tests.conftest import FailingEnv, MakeGates, gates_of
from tests.runs.conftest import manifest

KNOCK = ScriptedActor(["knock"])


def count(history: Sequence[MetaStep]) -> str:
    """Write a prompt that says how many meta-steps there were."""
    return f"prompt {len(history)}"


def test_each_prompt_is_the_reflection_on_the_history_so_far(make_gates: MakeGates) -> None:
    seen: list[int] = []

    def reflector(history: Sequence[MetaStep]) -> Reflection:
        seen.append(len(history))
        return Reflection(prompt=f"prompt {len(history)}", analysis="a", memory=[len(history)])

    env = make_gates()
    result = optimize(env, reflector, 4, seed=0)
    assert [item.prompt for item in result.history] == [env.default_prompt, "prompt 1", "prompt 2", "prompt 3"]
    assert [item.index for item in result.history] == [0, 1, 2, 3]
    assert seen == [1, 2, 3, 4]
    assert result.history[0].reflection is None
    assert [item.reflection.memory for item in result.history[1:] if item.reflection] == [[1], [2], [3]]
    assert result.last_prompt == "prompt 4"
    assert result.prompts == (env.default_prompt, "prompt 1", "prompt 2", "prompt 3", "prompt 4")
    assert result.last_reflection is not None
    assert result.last_reflection.memory == [4]


class Sorting(ReflectionMethod):
    """A method, which is not watched, that tries to change the history."""

    model = None

    def __init__(self) -> None:
        pass

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        return Reflection(prompt=sort(history))


def sort(history: Sequence[MetaStep]) -> str:
    assert isinstance(history, tuple)
    return f"prompt {len(history)}"


@pytest.mark.parametrize("reflector", [sort, Sorting(), ChangedExperience(sort, take_away, name="empty experience")])
def test_a_reflector_cannot_change_the_history(make_gates: MakeGates, reflector: Any) -> None:
    assert optimize(make_gates(), reflector, 2, seed=0).last_prompt == "prompt 2"


def test_it_is_a_plain_gymnasium_loop(make_gates: MakeGates) -> None:
    result = optimize(make_gates("random"), count, 3, seed=5)
    env = make_gates("random")
    _, info = env.reset(seed=5)
    prompt = info["default_prompt"]
    for meta_step in result.history:
        trajectories, reward, *_ = env.step(prompt)
        assert (trajectories, reward) == (meta_step.trajectories, meta_step.reward)
        prompt = f"prompt {meta_step.index + 1}"


def test_the_best_prompt_is_the_earliest_with_the_highest_reward(make_gates: MakeGates) -> None:
    result = optimize(make_gates(KNOCK, families=["law-0000"]), count, 3, seed=0)
    assert result.rewards == (1.0, 1.0, 1.0)
    assert (result.best_prompt, result.best_reward) == (result.history[0].prompt, 1.0)
    learned = optimize(make_gates(), GatesDemoReflector(), 8, seed=1)
    best = learned.rewards.index(max(learned.rewards))
    assert (learned.best_prompt, learned.best_reward) == (learned.history[best].prompt, max(learned.rewards))


def test_equal_seeds_give_equal_results(make_gates: MakeGates) -> None:
    results = [optimize(make_gates(), GatesDemoReflector(), 4, seed=2) for _ in range(2)]
    assert results[0] == results[1]
    assert OptimizationResult.model_validate_json(results[0].model_dump_json()) == results[0]


def test_the_first_prompt_may_be_given(make_gates: MakeGates) -> None:
    result = optimize(make_gates(), count, 1, seed=0, first_prompt="Mine.")
    assert result.prompts == ("Mine.", "prompt 1")


def test_an_empty_first_prompt_is_a_prompt(make_gates: MakeGates) -> None:
    assert optimize(make_gates(), count, 1, seed=0, first_prompt="").history[0].prompt == ""


def test_it_ends_when_the_environment_terminates(make_gates: MakeGates) -> None:
    env = make_gates(KNOCK, families=["law-0000"], success_threshold=0.5)
    result = optimize(env, count, 5, seed=0)
    assert (len(result.history), result.last_prompt) == (1, "prompt 1")
    assert result.stopped == "The success threshold was reached"


def test_it_ends_when_the_environment_truncates_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    env = gymnasium.make("MetaGym/Gates-v0", actor="demo", max_episode_steps=2)
    with caplog.at_level(logging.WARNING):
        assert len(optimize(env, count, 5, seed=0).history) == 2
    assert "truncated after 2 of 5 meta-steps" in caplog.text


def test_on_meta_step_is_called_with_each(make_gates: MakeGates) -> None:
    seen: list[MetaStep] = []
    result = optimize(make_gates(), count, 3, seed=0, on_meta_step=seen.append)
    assert tuple(seen) == result.history


def test_a_plain_function_may_step_another_environment(make_gates: MakeGates) -> None:
    other = make_gates()

    def reflector(history: Sequence[MetaStep]) -> str:
        group = other.replay(["x", "y"], [history[-1].trajectories[0].task.id])
        return max(group, key=lambda item: item.reward or 0.0).prompt

    assert optimize(make_gates(), reflector, 2, seed=0).last_prompt in ("x", "y")


def test_an_async_function_is_a_reflector(make_gates: MakeGates) -> None:
    async def reflector(history: Sequence[MetaStep]) -> str:
        return "async"

    assert optimize(make_gates(), reflector, 2, seed=0).last_prompt == "async"


def test_a_bad_reply_keeps_the_old_prompt_and_the_loop_goes_on(make_gates: MakeGates) -> None:
    env = make_gates()
    result = optimize(env, ChatReflector(FakeChatModel(["no marker"])), 3, seed=0)
    assert [item.prompt for item in result.history] == [env.default_prompt] * 3
    assert result.history[1].reflection is not None
    assert "the old prompt was kept" in result.history[1].reflection.problem


def test_a_failed_meta_step_carries_the_history_and_the_partial_meta_step(make_gates: MakeGates) -> None:
    resets: list[str] = []

    def fails(task_id: str) -> bool:
        resets.append(task_id)
        return len(resets) > 12

    env = make_gates(cls=gates_of(lambda inner: FailingEnv(inner, fails)), attempts=1)
    with pytest.raises(EpisodesFailedError) as raised:
        optimize(env, count, 5, seed=0)
    assert len(raised.value.history) == 2
    assert raised.value.meta_step is not None
    assert raised.value.meta_step.num_failed == 3
    assert raised.value.meta_step.prompt == "prompt 2"


def test_a_failed_reflection_carries_the_history(make_gates: MakeGates) -> None:
    with pytest.raises(ModelError, match=r"down") as raised:
        optimize(make_gates(), ChatReflector(FakeChatModel([ModelError("down")])), 5, seed=0)
    assert isinstance(raised.value, InfrastructureError)
    assert len(raised.value.history) == 1


def test_a_prompt_that_is_too_long_is_not_kept_so_that_a_resume_reflects_again(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    with RunFolder.create(tmp_path, manifest()) as run:
        with pytest.raises(InvalidPromptError, match="expected at most 100,000 characters"):
            optimize(make_gates(), lambda history: "x" * 100_001, 1, seed=0, log=run)
        assert not run.all(Reflection)


@pytest.mark.parametrize("answer", [None, 3, ["p"]])
def test_a_reflector_must_return_a_reflection_or_a_text(make_gates: MakeGates, answer: Any) -> None:
    with pytest.raises(ConfigError, match=r"A reflector must return a Reflection or a str, got"):
        optimize(make_gates(), lambda history: answer, 2, seed=0)


def test_at_least_one_step_is_asked_for(make_gates: MakeGates) -> None:
    with pytest.raises(ConfigError, match=r"num_steps must be at least 1, got 0"):
        optimize(make_gates(), count, 0)


def test_a_meta_step_is_scripted_if_the_reflector_was(make_gates: MakeGates) -> None:
    class Real(ScriptedActor):
        scripted = False

    history = optimize(make_gates(Real(["knock"])), GatesDemoReflector(), 2, seed=0).history
    assert [item.scripted for item in history] == [False, True]
