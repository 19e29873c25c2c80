"""What `info` and the ledger hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest

from metagym import ChatActor
from metagym.testing import FakeChatModel
from metagym.types import Message, Usage
from tests.conftest import MakeGates, gates_of
from tests.env.playing import played

pytestmark = pytest.mark.timeout(60)


def test_info_holds_the_agreed_fields(make_gates: MakeGates) -> None:

    def reply(messages: Sequence[Message], call: Any) -> str:
        return "Action: fly" if len(messages) == 2 and "Not executed" not in str(messages) else "Action: knock"

    env = make_gates(ChatActor(FakeChatModel(reply)), max_steps=4)
    env.reset(seed=0)
    trajectories, _, _, _, info = env.step("p")
    assert set(info) == {
        "task_ids",
        "scores",
        "successes",
        "num_failed",
        "invalid_action_rate",
        "usage",
        "fingerprint",
    }
    assert info["task_ids"] == tuple(item.task.id for item in trajectories)
    assert (info["scores"].dtype, info["scores"].shape) == (np.dtype(np.float64), (5,))
    assert info["scores"].tolist() == [item.score for item in trajectories]
    assert info["successes"] == tuple(item.success for item in trajectories)
    assert info["num_failed"] == 0
    assert info["invalid_action_rate"] == 5 / sum(len(item.steps) for item in trajectories)
    assert info["usage"] == sum((item.usage for item in trajectories), Usage()).model_dump()
    assert info["usage"]["num_calls"] == sum(len(item.steps) for item in trajectories)


def test_successes_are_none_where_the_environment_reports_none(make_gates: MakeGates) -> None:
    class Silent(gymnasium.Wrapper[str, str, str, str]):
        def reset(self, **kwargs: Any) -> Any:
            text, info = self.env.reset(**kwargs)
            return text, {"available_actions": info["available_actions"]}

        def step(self, action: str) -> Any:
            *rest, info = self.env.step(action)
            return *rest, {"available_actions": info["available_actions"]}

    env = make_gates("random", cls=gates_of(Silent))
    assert played(env, 1)[0][4]["successes"] == (None,) * 5


def test_nothing_measured_by_a_clock_is_in_info_trajectories_or_meta_steps(make_gates: MakeGates) -> None:
    """Equal play gives equal values: there is no room for a time in them."""

    def dump() -> list[Any]:
        env = make_gates(families=["law-0001"])
        steps = played(env, 2)
        group = env.replay(["p"], ["law-0001/3"])
        return [[s[4] | {"scores": s[4]["scores"].tolist()}, [t.model_dump() for t in s[0]]] for s in steps] + [
            item.model_dump() for item in group
        ]

    first = dump()
    assert dump() == first
    names = set(_names(first))
    assert not {name for name in names if name.endswith("_s") or "time" in name or "date" in name}


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _names(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names(inner)


def test_times_and_totals_are_in_the_ledger(make_gates: MakeGates) -> None:
    env = make_gates(ChatActor(FakeChatModel(["Action: knock"])))
    steps = played(env, 2)
    env.replay(["p"], ["law-0001/3"])
    assert env.ledger.num_episodes == 11
    assert env.ledger.wall_time_s > 0
    assert env.ledger.usage.num_calls >= sum(step[4]["usage"]["num_calls"] for step in steps)
    assert "num_episodes=11" in repr(env.ledger)
