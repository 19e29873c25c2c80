"""What a server does to a whole meta-step: batches that fail alike, filters, odd conversations and odd values."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from metagym import MetaEnv, TextAdapter, optimize
from metagym.actor import ChatActor, read_reply
from metagym.errors import BadBatchError, ConfigError, ContentFilterError, ContextOverflowError
from metagym.reflectors import read_reflection
from metagym.testing import FakeChatModel, ServerReply, ServerRequest
from metagym.types import Completion, Observation, StopReason
from tests.conftest import MakeGates, Serve

PLAYS = "Thought: x\nAction: push"


def gates_at(make_gates: MakeGates, serve: Serve, respond: Callable[[ServerRequest], Any], **options: Any) -> MetaEnv:
    client = {"first_pause_s": 0.01, "max_pause_s": 0.02}
    actor = {"model": "m", "base_url": serve(respond).base_url, "client": client}
    return make_gates(actor, **{"episodes_per_step": 3, **options})


def step(env: MetaEnv) -> Any:
    env.reset(seed=0)
    return env.step("Walk.")


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "content_filter", "model_length", "abort", "odd"])
def test_a_reply_that_did_not_end_by_itself_is_never_read(reason: str) -> None:
    assert read_reply(Completion(text="Thought: iron\nAction: pu", finish_reason=reason))[1] is None
    text = "ANALYSIS: a\nIMPROVED PROMPT: 1. push iron gates\n2. never pul"
    assert read_reflection(Completion(text=text, finish_reason=reason))[1] is None


@pytest.mark.parametrize("reason", ["stop", "STOP", "end_turn", "eos"])
def test_a_reply_that_ended_by_itself_is_read(reason: str) -> None:
    assert read_reply(Completion(text=PLAYS, finish_reason=reason))[1] == "push"


# A batch that fails alike ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "remedy"),
    [
        (Completion(text="", finish_reason="length"), "raise max_tokens"),
        (Completion(text="Thou", finish_reason="content_filter"), "content filter stopped every reply"),
        (Completion(text=" "), "every reply was empty"),
        (Completion(text="Action: shout"), "no action was valid, as in the first: 'shout'"),
    ],
)
def test_a_step_warns_of_a_batch_that_failed_alike_and_a_loop_stops(
    make_gates: MakeGates, caplog: pytest.LogCaptureFixture, reply: Completion, remedy: str
) -> None:
    actor = ChatActor(FakeChatModel([reply] * 400))
    with caplog.at_level(logging.WARNING):
        _, reward, *_ = step(make_gates(actor, episodes_per_step=2))
    assert reward == 0.0
    assert remedy in caplog.text
    with pytest.raises(BadBatchError, match=remedy) as raised:
        optimize(make_gates(actor, episodes_per_step=2), lambda history: "Run.", 2, seed=0)
    assert raised.value.meta_step is not None
    result = optimize(make_gates(actor, episodes_per_step=2, allow_bad_batches=True), lambda history: "Run.", 2, seed=0)
    assert result.rewards == (0.0, 0.0)


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [(ContextOverflowError("no"), "lower max_tokens"), (ContentFilterError("no"), "content filter")],
)
def test_a_step_in_which_no_episode_began_is_an_error(make_gates: MakeGates, failure: Exception, remedy: str) -> None:
    env = make_gates(ChatActor(FakeChatModel([failure] * 3)), episodes_per_step=3)
    with pytest.raises(BadBatchError, match=remedy):
        step(env)


def test_one_good_reply_is_enough_to_continue(make_gates: MakeGates, caplog: pytest.LogCaptureFixture) -> None:
    replies = [Completion(text=PLAYS), *[Completion(text="", finish_reason="length")] * 400]
    with caplog.at_level(logging.WARNING):
        step(make_gates(ChatActor(FakeChatModel(replies)), episodes_per_step=2))
    assert "every reply" not in caplog.text


# One conversation -----------------------------------------------------------------------------------------


def test_a_filtered_conversation_ends_its_episode_and_is_data(make_gates: MakeGates, serve: Serve) -> None:
    def respond(request: ServerRequest) -> Any:
        if len(request.messages) > 4:
            return ServerReply("The response was filtered.", status=400, error={"code": "content_filter"})
        return PLAYS

    trajectories, *_ = step(gates_at(make_gates, serve, respond))
    assert {item.stop_reason for item in trajectories} <= {StopReason.CONTENT_FILTER, StopReason.TERMINATED}
    assert StopReason.CONTENT_FILTER in {item.stop_reason for item in trajectories}
    assert all(item.score is not None for item in trajectories)


def test_no_empty_assistant_message_is_sent(make_gates: MakeGates) -> None:
    model = FakeChatModel([Completion(text="")] * 400)
    step(make_gates(ChatActor(model), episodes_per_step=1))
    assert all(message["content"].strip() for messages, _ in model.calls for message in messages)


def test_a_template_without_a_system_role_gets_the_prompt_in_the_first_user_message(
    make_gates: MakeGates, serve: Serve
) -> None:
    seen: list[list[str]] = []

    def respond(request: ServerRequest) -> Any:
        roles = [message["role"] for message in request.messages]
        seen.append(roles)
        if "system" in roles:
            return ServerReply("System role not supported", status=400)
        assert "Walk." in request.messages[0]["content"]
        return PLAYS

    step(gates_at(make_gates, serve, respond, episodes_per_step=1))
    assert seen[0][0] == "system"
    assert all(roles[0] == "user" for roles in seen[1:])  # the refusal is remembered


# Adapters and records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("success", [True, False])
def test_success_is_asked_for_at_a_time_limit_too(success: bool) -> None:
    env = TextAdapter(
        gymnasium.make("CartPole-v1", max_episode_steps=3),
        actions=["left", "right"],
        render=lambda observation, info: str(observation),
        success=lambda reward, info: success,
    )
    env.reset(seed=0)
    for command in ("left", "right", "left"):
        _, _, _, truncated, info = env.step(command)
    assert (truncated, info["success"]) == (True, success)


def test_odd_values_for_viewers_do_not_break_a_record() -> None:
    loop: list[Any] = []
    loop.append(loop)
    display = {"hp": np.int64(3), "map": np.arange(3), "nan": float("nan"), "type": int}
    again = Observation.model_validate_json(Observation(text="x", display=display).model_dump_json())
    assert again.display == {"hp": 3, "map": [0, 1, 2], "nan": None, "type": "<class 'int'>"}
    assert "not JSON" in Observation(text="x", display=loop).model_dump_json()


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, pickle.dumps])
def test_a_meta_environment_says_what_to_do_instead_of_copying_it(make_gates: MakeGates, copied: Any) -> None:
    with pytest.raises(ConfigError, match=r"cannot be copied or pickled. Make another one"):
        copied(make_gates())
