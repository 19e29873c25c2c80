"""What the fingerprint depends on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metagym.envs.gates.demo import GatesDemoActor
from tests.conftest import MakeGates, gates_of

pytestmark = pytest.mark.timeout(60)


def fingerprint(make_gates: MakeGates, actor: Any = "demo", **options: Any) -> str:
    env = make_gates(actor, **options)
    _, info = env.reset(seed=0)
    return str(info["fingerprint"])


@pytest.mark.parametrize(
    "options",
    [
        {"actor": "random"},
        {"actor": GatesDemoActor(slip=0.1)},
        {"families": ["law-0001"]},
        {"split": "test"},
        {"episodes_per_step": 4},
        {"schedule": "same"},
        {"max_steps": 24},
        {"invalid": "execute"},
        {"success_threshold": 0.5},
        {"cls": gates_of(lambda env: env)},
    ],
)
def test_the_fingerprint_changes_with_what_decides_a_measurement(
    make_gates: MakeGates, options: dict[str, Any]
) -> None:
    assert fingerprint(make_gates, **options) != fingerprint(make_gates)


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 1}, {"arm": "b"}, {"render_mode": "ansi"}])
def test_the_fingerprint_does_not_change_with_what_decides_nothing(
    make_gates: MakeGates, options: dict[str, Any]
) -> None:
    assert fingerprint(make_gates, **options) == fingerprint(make_gates)


def test_the_fingerprint_names_model_server_and_sampling(make_gates: MakeGates) -> None:
    base = {"model": "m", "base_url": "http://localhost:1/v1"}
    others = [
        {**base, "model": "n"},
        {**base, "base_url": "http://localhost:2/v1"},
        {**base, "sampling": {"temperature": 1.0}},
        {**base, "history_steps": 3},
    ]
    digests = [fingerprint(make_gates, actor) for actor in (base, *others)]
    assert len(set(digests)) == 5
    assert fingerprint(make_gates, {**base, "timeout_s": 7}) == digests[0]


def test_the_fingerprint_is_the_same_in_the_info_of_each_step(make_gates: MakeGates) -> None:
    env = make_gates()
    _, info = env.reset(seed=0)
    assert env.step("p")[4]["fingerprint"] == info["fingerprint"]
    assert json.loads(json.dumps(env.fingerprint)) == env.fingerprint
