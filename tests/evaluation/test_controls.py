"""Null controls: each takes one thing from the experience and leaves the rest; and the demo reflector beats each."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from metagym import background
from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.errors import ConfigError, UnknownNameError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.comparison import compare
from metagym.evaluation.controls import (
    CONTROLS,
    ChangedExperience,
    ConstantPrompt,
    control_arm,
    hide_goals,
    permute_outcomes,
    scramble_observations,
    take_away,
)
from metagym.evaluation.kept_values import KeptValues
from metagym.rendering import render_batch
from metagym.types import MetaStep, Observation, Reflection, Trajectory
from tests.conftest import MakeGates, make_meta_step, make_step, make_trajectory

RNG = np.random.default_rng


@pytest.fixture
def batch(make_gates: MakeGates) -> tuple[Trajectory, ...]:
    env = make_gates(families=["law-0007"])
    _, info = env.reset(seed=0)
    return env.step(info["default_prompt"])[0]


def test_permuted_outcomes_keep_the_actions_and_take_what_followed_from_another(batch: tuple[Trajectory, ...]) -> None:
    changed = permute_outcomes(batch, RNG(0))
    for own, new in zip(batch, changed, strict=True):
        actions = [step.action.text for step in own.steps]
        assert [step.action.text for step in new.steps] == [actions[i % len(actions)] for i in range(len(new.steps))]
        assert new.episode == own.episode
        assert [step.observation for step in new.steps] != [step.observation for step in own.steps]
    assert sorted(item.score or 0 for item in changed) == sorted(item.score or 0 for item in batch)


def test_permuted_texts_name_the_action_that_now_stands_before_them(batch: tuple[Trajectory, ...]) -> None:
    for item in permute_outcomes(batch, RNG(0)):
        for step, after in zip(item.steps, item.steps[1:], strict=False):
            assert after.observation.text.startswith(f"You {step.action.text}. ")


def test_a_batch_of_one_cannot_be_permuted(batch: tuple[Trajectory, ...]) -> None:
    with pytest.raises(ConfigError, match=r"batch of at least 2 episodes to permute outcomes across, got 1. Raise"):
        permute_outcomes(batch[:1], RNG(0))


def test_scrambled_observations_keep_the_words_and_the_outcome(batch: tuple[Trajectory, ...]) -> None:
    for own, new in zip(batch, scramble_observations(batch, RNG(0)), strict=True):
        assert (new.score, new.stop_reason) == (own.score, own.stop_reason)
        for before, after in zip(own.steps, new.steps, strict=True):
            assert sorted(before.observation.text.split()) == sorted(after.observation.text.split())
            assert before.action == after.action


def test_scrambled_observations_scramble_text_and_show_no_feedback_and_no_display() -> None:
    seen = Observation(text="a b c d e f g h", feedback="1 2 3 4 5 6 7 8", display={"map": "@"})
    played = make_trajectory([make_step().model_copy(update={"observation": seen})], final_observation=seen)
    (changed,) = scramble_observations((played,), RNG(0))
    for observation in (changed.steps[0].observation, changed.final_observation):
        assert observation is not None
        assert observation.text != seen.text
        assert sorted(observation.text.split()) == sorted(seen.text.split())
        assert (observation.feedback, observation.display) == ("", None)


def test_empty_experience_shows_only_that_episodes_were_played(batch: tuple[Trajectory, ...]) -> None:
    texts = {text.split("\n", 1)[1] for text in render_batch(take_away(batch, RNG(0))).split("\n\n")}
    assert texts == {"Outcome: Total reward 0; the environment's time limit was reached."}


def test_a_hidden_goal_stands_nowhere_and_all_else_stays() -> None:
    seen = Observation(text="Your task: Get out.\nYou see a door.", goal="Get out.")
    played = make_trajectory([make_step().model_copy(update={"observation": seen})], final_observation=seen)
    (changed,) = hide_goals((played,), RNG(0))
    for observation in (changed.steps[0].observation, changed.final_observation):
        assert observation is not None
        assert (observation.goal, observation.text) == ("", "Your task: \nYou see a door.")
    assert "Get out." not in render_batch((changed,))
    assert [step.action for step in changed.steps] == [step.action for step in played.steps]


def test_a_control_is_the_same_for_equal_histories_and_keeps_the_prompts(batch: tuple[Trajectory, ...]) -> None:
    seen: list[Sequence[MetaStep]] = []

    def write(history: Sequence[MetaStep]) -> str:
        seen.append(history)
        return "next"

    control = ChangedExperience(write, permute_outcomes, name="permuted outcomes")
    history = [make_meta_step(batch, prompt="the prompt")]
    for _ in range(2):
        assert background.run(control.reflect(history)) == Reflection(prompt="next")
    assert seen[0] == seen[1]
    assert seen[0][0].prompt == "the prompt"
    assert control.fingerprint["kind"] == "permuted outcomes"


def test_a_control_changes_each_meta_step_once_and_keeps_it_no_longer_than_the_loop(
    batch: tuple[Trajectory, ...],
) -> None:
    changes: list[int] = []

    def change(batch: tuple[Trajectory, ...], rng: np.random.Generator) -> tuple[Trajectory, ...]:
        changes.append(len(batch))
        return batch

    async def replay(*_: object, **__: object) -> tuple[MetaStep, ...]:
        return ()

    control = ChangedExperience(lambda history: "next", change, name="counted")
    history: list[MetaStep] = []
    for _ in range(4):
        history.append(make_meta_step(batch))
        background.run(control.bound_to(replay).reflect(history))  # as `optimize` does
    assert len(changes) == 4
    seen = [weakref.ref(item) for item in history]
    history.clear()
    gc.collect()
    assert [item() for item in seen] == [None] * 4


def test_values_of_meta_steps_are_made_once_and_are_not_copied(batch: tuple[Trajectory, ...]) -> None:
    kept: KeptValues[str] = KeptValues()
    one, same = make_meta_step(batch), make_meta_step(batch)
    assert kept.of(one, lambda item: "first") == kept.of(one, lambda item: "second") == "first"
    assert kept.of(same, lambda item: "another") == "another"
    assert copy.deepcopy(kept).of(one, lambda item: "new") == "new"


def test_a_constant_prompt_is_the_same_after_any_history(batch: tuple[Trajectory, ...]) -> None:
    assert background.run(ConstantPrompt("Knock.").reflect([make_meta_step(batch)])).prompt == "Knock."


def test_unknown_and_incomplete_controls_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown control 'empty': expected one of 'same again'"):
        control_arm("empty", GatesDemoReflector())
    with pytest.raises(ConfigError, match=r"needs a prompt, got nothing. Tune one"):
        control_arm("constant prompt", GatesDemoReflector())
    with pytest.raises(ConfigError, match=r"needs families other than those evaluated"):
        control_arm("other family", GatesDemoReflector(), families=["law-0000"])


@pytest.mark.slow
def test_the_demo_reflector_beats_each_null_control_and_not_itself(make_gates: MakeGates) -> None:
    families = ("law-0007", "law-0500")
    config = EvaluationConfig(families=families, num_steps=5, num_seeds=6, num_validation=10, num_test=12, replay=False)
    env = make_gates(GatesDemoActor(slip=0.05))
    arms = [
        control_arm(name, GatesDemoReflector(), families=families, constant_prompt="when the gate is oak, sing")
        for name in CONTROLS
    ]
    reports = [
        evaluate(env, "demo", config=config, arm="demo"),
        *(
            evaluate(env, arm.reflector, config=config, arm=arm.name, kind=arm.kind, learn_from=arm.learn_from)
            for arm in arms
        ),
    ]
    for found in compare(reports):
        assert found.difference is not None
        assert found.difference.low is not None
        assert (found.second_kind == "same again") is (found.second == "same again")
        if found.second in ("same again", "hidden goal"):  # the demo reflector reads no goal
            assert found.difference.sign == 0
        else:
            assert found.difference.low > 0.3, found.second
