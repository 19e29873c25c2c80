"""Actions for a server of OpenEnv as JSON; no server and no client are needed to see which ones are sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from metagym.bridges.openenv_client import OpenEnvEnv, Server


class Client:
    """Keep the actions that are sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def step(self, action: Any) -> Any:
        self.sent.append(action)
        return SimpleNamespace(observation={"shown": "Yes."}, reward=1.0, done=True)

    def close(self) -> None: ...


def step(action: str) -> tuple[list[Any], str, float, bool]:
    env = OpenEnvEnv(Server("http://127.0.0.1", "guess", "", None, "shown"), {"guess/0": {"seed": 0}})
    env._client = client = Client()
    text, reward, terminated, *_ = env.step(action)
    env.close()
    return client.sent, text, reward, terminated


def test_an_object_is_sent_as_clean_json() -> None:
    assert step('{"message": "a\\ud800"}') == ([{"message": "a\ufffd"}], "Yes.", 1.0, True)


@pytest.mark.parametrize("action", ["hello", "5", "[1]", "null", "NaN", "1" * 5_000, "[" * 100_000, '{"x": NaN}', ""])
def test_an_action_that_is_no_object_costs_a_step_and_is_not_sent(action: str) -> None:
    sent, text, reward, terminated = step(action)
    assert (sent, reward, terminated) == ([], 0.0, False)
    assert text.startswith("Expected the action as a JSON object")
