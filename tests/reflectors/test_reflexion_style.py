"""Reflexion style keeps the lessons of the last failures."""

from __future__ import annotations

import pytest

from metagym import optimize
from metagym.errors import ConfigError
from metagym.reflectors.reflexion_style import ReflexionStyle
from metagym.reflectors.scripted_model import ScriptedReflectorModel
from metagym.testing import FakeChatModel
from tests.conftest import MakeGates
from tests.reflectors.batches import asked, lost, reflect_on, won


def numbered_lessons() -> FakeChatModel:
    return FakeChatModel(lambda messages, call: f"ANALYSIS: a\nLESSON: lesson {call.meta_step}")


def test_the_last_lessons_are_kept() -> None:
    reflections = reflect_on(ReflexionStyle(numbered_lessons(), num_lessons=2), *[[lost()]] * 4)
    assert [item.memory["lessons"] for item in reflections] == [
        ["lesson 0"],
        ["lesson 0", "lesson 1"],
        ["lesson 1", "lesson 2"],
        ["lesson 2", "lesson 3"],
    ]
    assert reflections[-1].prompt == "Be brave.\n\n## Lessons from earlier failures\n- lesson 2\n- lesson 3"


def test_the_model_sees_failures_only_and_is_not_asked_without_a_failure() -> None:
    model = numbered_lessons()
    first, second = reflect_on(ReflexionStyle(model), [lost(), won()], [won(), won()])
    assert "You see a wall." in asked(model)
    assert "You see a door." not in asked(model)
    assert len(model.calls) == 1
    assert (second.prompt, second.memory, second.problem) == (first.prompt, first.memory, "")


def test_with_the_same_schedule_one_task_is_retried(make_gates: MakeGates) -> None:
    env = make_gates(schedule="same", episodes_per_step=1)
    history = optimize(env, ReflexionStyle(ScriptedReflectorModel()), 4, seed=0).history
    assert len({item.trajectories[0].task.id for item in history}) == 1
    assert [item.trajectories[0].episode.repetition for item in history] == [0, 1, 2, 3]
    assert (history[0].reward, history[-1].reward) == (0.0, 1.0)


def test_an_option_below_its_least_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"num_lessons must be at least 1, got 0"):
        ReflexionStyle(FakeChatModel([]), num_lessons=0)
