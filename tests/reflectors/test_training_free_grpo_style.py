"""Training-free GRPO style compares groups of rollouts in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metagym import optimize
from metagym.errors import ConfigError
from metagym.reflectors.scripted_model import ScriptedReflectorModel
from metagym.reflectors.training_free_grpo_style import TrainingFreeGRPOStyle, contrasts
from metagym.testing import FakeChatModel
from metagym.types import MetaStep, Trajectory
from tests.conftest import MakeGates, make_episode, make_meta_step, make_step, make_task, make_trajectory
from tests.reflectors.batches import lost, reflect_on


def of_task(task_id: str, score: float | None, text: str = "") -> Trajectory:
    success = None if score is None else score == 1.0
    return make_trajectory(
        [make_step(text or f"at {task_id}")],
        episode=make_episode(task=make_task(task_id)),
        score=score,
        success=success,
    )


def test_groups_are_compared_if_their_scores_differ_else_the_batch() -> None:
    a, b = of_task("a", 1.0), of_task("a", 0.0)
    c, d = of_task("b", 0.0), of_task("b", 0.0)
    failed = of_task("a", None)
    assert contrasts([(a, b, failed), (c, d)]) == [(a, b)]
    assert contrasts([(a, a), (c, d)]) == [(a, a, c, d)]
    assert contrasts([(c, d), (c, failed)]) == []
    assert contrasts([]) == []


def test_each_task_is_played_as_a_group_and_the_budget_pays_for_it(make_gates: MakeGates) -> None:
    env = make_gates("random", episodes_per_step=3, max_steps=4)
    optimize(env, TrainingFreeGRPOStyle(ScriptedReflectorModel(), group_size=4), 2, seed=0)
    assert env.ledger.num_episodes == 2 * (3 + 3 * 3)


def test_the_model_is_asked_once_per_group_and_once_to_merge() -> None:
    calls: list[tuple[Any, Any, int]] = []

    async def replay(prompts: Any, task_ids: Any, *, repetitions: int = 1) -> tuple[MetaStep, ...]:
        calls.append((prompts, task_ids, repetitions))
        rolled = [of_task("a", 0.0, "rolled a"), of_task("b", 1.0, "rolled b"), of_task("c", 0.0)]
        return (make_meta_step(rolled),)

    def respond(messages: Any, call: Any) -> str:
        if "suggestions" in messages[0]["content"] and "<suggestions>" in messages[1]["content"]:
            modify = {"type": "modify", "number": 1, "text": "Knock twice."}
            return json.dumps({"operations": [modify, {"type": "ADD", "text": "n"}]})
        return json.dumps({"analysis": f"reply {call.repetition}", "experiences": ["Knock.", f"e{call.repetition}"]})

    model = FakeChatModel(respond)
    reflector = TrainingFreeGRPOStyle(model, group_size=2).bound_to(replay)
    batch = [of_task("a", 1.0), of_task("b", 0.0), of_task("c", 0.0)]
    first = reflect_on(reflector, batch)[0]
    assert calls == [(["Be brave."], ["a", "b", "c"], 1)]
    texts = [messages[1]["content"] for messages, _ in model.calls]
    assert ["rolled a" in text for text in texts] == [True, False, False]
    assert ["rolled b" in text for text in texts] == [False, True, False]
    assert "<suggestions>\n1. Knock.\n2. e0\n3. e1\n</suggestions>" in texts[2]
    assert [call.repetition for _, call in model.calls] == [0, 1, 2]
    assert (first.memory, first.analysis) == ({"experiences": ["n"]}, "reply 0\nreply 1")
    second = reflect_on(reflector, batch, batch)[1]
    assert second.memory == {"experiences": ["Knock twice.", "n"]}


def test_the_error_without_an_environment_names_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"not bound to an environment. Run it by `optimize` or `evaluate`"):
        reflect_on(TrainingFreeGRPOStyle(FakeChatModel([])), [lost()])


def test_an_option_below_its_least_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"group_size must be at least 2, got 1"):
        TrainingFreeGRPOStyle(FakeChatModel([]), group_size=1)
