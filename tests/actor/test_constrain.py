"""With constrain="auto" the server holds the reply to the format, and the action to the listed ones."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from metagym.actor import ChatActor, ToolActor, make_actor
from metagym.actor.chat import read_reply, reply_form
from metagym.errors import ConfigError
from metagym.models.constraint import PROBE
from metagym.optional_attributes import describe
from metagym.testing import FakeChatModel, ServerRequest
from metagym.types import Completion
from tests.conftest import MakeGates, Serve


def obedient(request: ServerRequest) -> str:
    """Reply as a server that knows `regex`: with the last action that the expression lists."""
    expression = request.body.get("regex")
    if expression is None:
        return "What do I know?"
    action = re.findall(r"\(([^)]*)\)$", expression)[0].split("|")[-1]
    return f"Thought: so be it\nAction: {action}" if "Thought" in expression else action.replace("\\", "")


@pytest.mark.parametrize("reply_format", ["react", "act"])
def test_no_action_is_invalid(serve: Serve, make_gates: MakeGates, reply_format: str) -> None:
    server = serve(obedient)
    actor = {"model": "m", "base_url": server.base_url, "constrain": "auto", "reply_format": reply_format}
    env = make_gates(actor, episodes_per_step=2, max_steps=4)
    _, info = env.reset(seed=0)
    trajectories, _, _, _, info = env.step(info["default_prompt"])
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    assert info["invalid_action_rate"] == 0
    assert {step.action.completion.constraint for step in steps if step.action.completion} == {"regex"}
    assert {step.action.text for step in steps} <= {*(steps[0].observation.available_actions or ())}
    assert {step.action.thought for step in steps} == {"so be it" if reply_format == "react" else ""}
    probes = [request for request in server.requests if PROBE.actions[0] in json.dumps(request.body)]
    assert len(server.requests) - len(probes) == len(steps)


def test_only_the_form_is_held_if_no_actions_are_listed() -> None:
    assert reply_form("react", None, None).actions == ()
    assert reply_form("act", ["a", "a", "", "b\nc", "d"], None).actions == ("a", "d")


def test_a_thought_leaves_room_for_the_action() -> None:
    assert reply_form("react", ["push"], None).max_thought == 400
    assert reply_form("react", ["push"], 60).max_thought == 60 - 4 - 16
    assert reply_form("react", ["push"], 5).max_thought == 1
    assert reply_form("act", ["push"], 60).max_thought is None


def test_a_held_reply_is_read_as_it_is() -> None:
    assert read_reply(Completion(text="Thought: x\nAction: *", constraint="grammar")) == ("x", "*", "")
    held = Completion(text='{"thought": "x", "action": "push"}', constraint="response_format")
    assert read_reply(held) == ("x", "push", "")
    assert read_reply(held.model_copy(update={"text": "{}"}))[1] is None
    assert "cut off" in read_reply(held.model_copy(update={"finish_reason": "length"}))[2]


def test_it_is_off_unless_asked_for_and_in_the_fingerprint() -> None:
    mapping: dict[str, Any] = {"model": "m", "base_url": "http://localhost:1/v1"}
    fingerprints = [make_actor({**mapping, **more}).fingerprint for more in ({}, {"constrain": "auto"})]  # type: ignore[attr-defined]
    assert [item["constrain"] for item in fingerprints] == ["off", {"max_thought": 400}]
    assert ChatActor(FakeChatModel([]), constrain="auto").fingerprint["constrain"] == "off"  # it cannot
    with pytest.raises(ConfigError, match="constrain must be 'auto' or 'off', got 'on'"):
        make_actor({**mapping, "constrain": "on"})


@pytest.mark.parametrize("offers_tools", [False, True])
def test_a_local_model_is_held_unless_it_is_left_free(offers_tools: bool) -> None:
    for given, held in (({}, True), ({"constrain": "off"}, False)):
        actor: Any = make_actor({"model": "local", "recorded": {"model": "m"}, **given}, offers_tools=offers_tools)
        assert (actor.fingerprint["constrain"] != "off") == held


def test_tools_that_are_held_show_in_the_fingerprint() -> None:
    spec: dict[str, Any] = {"model": "m", "base_url": "http://localhost:1/v1", "act": "tools"}
    actors: Any = [make_actor({**spec, "constrain": name}) for name in ("off", "auto")]
    free, held = (actor.fingerprint for actor in actors)
    assert (free["constrain"], held["constrain"]) == ("off", "auto")
    assert free["text_form"] != held["text_form"]
    model = actors[0].model
    assert describe(model.with_tools(())) != describe(model.with_tools((), held=True))
    assert ToolActor(FakeChatModel([]), constrain="auto").fingerprint["constrain"] == "off"  # it cannot
