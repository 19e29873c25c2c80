"""From a server's answer to a completion: reasoning apart, tokens counted, nonsense refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.actors import read_reply
from metagym.models.server_replies import ReplyError, is_overflow, read_completion, split_reasoning
from metagym.testing import ServerReply
from tests.conftest import Serve
from tests.models.calling import complete, model_at


def body(message: dict[str, Any] | None = None, **choice: Any) -> bytes:
    return json.dumps({"model": "m", "choices": [{"message": message or {"content": "ok"}, **choice}]}).encode()


@pytest.mark.parametrize(
    ("text", "reasoning", "reply"),
    [
        ("Action: push", "", "Action: push"),
        ("<think>Iron.</think>\n\nAction: push", "Iron.", "Action: push"),
        ("\n<think>\nIron.\n</think>Action: push", "Iron.", "Action: push"),
        ("Iron.\n</think>\n\nAction: push", "Iron.", "Action: push"),  # the chat template opened the block
        ("<think>and on and on", "and on and on", ""),  # cut off before the reply began
        ("<thinking>Iron.</thinking>Action: push", "Iron.", "Action: push"),
        ("<think></think>Action: push", "", "Action: push"),
        ("Thought: a <b> tag\nAction: push", "", "Thought: a <b> tag\nAction: push"),
        ("Action: say <think>", "", "Action: say <think>"),  # a block counts only at the start of the reply
    ],
)
def test_a_reasoning_block_at_the_start_is_not_part_of_the_reply(text: str, reasoning: str, reply: str) -> None:
    assert split_reasoning(text) == (reasoning, reply)


@given(st.text(), st.text())
def test_a_closed_block_is_always_removed(inside: str, reply: str) -> None:
    if "</think>" in inside:
        return
    assert split_reasoning(f"<think>{inside}</think>{reply}") == (inside.strip(), reply.lstrip())


def test_an_action_inside_the_reasoning_is_not_played(serve: Serve) -> None:
    completion = complete(model_at(serve("<think>Action: pull?</think>Thought: no.\nAction: push")))
    assert completion.reasoning == "Action: pull?"
    assert read_reply(completion)[1] == "push"


def test_reasoning_that_the_server_separated_is_kept(serve: Serve) -> None:
    completion = complete(model_at(serve(ServerReply("Action: push", reasoning="Iron."))))
    assert (completion.text, completion.reasoning) == ("Action: push", "Iron.")
    completion, _ = read_completion(body({"content": "a", "reasoning": "b"}), "m")
    assert (completion.text, completion.reasoning) == ("a", "b")


def test_token_ids_and_log_probabilities_are_kept_if_given() -> None:
    logprobs = {"content": [{"token": "o", "logprob": -0.5}, {"token": "k", "logprob": -1}]}
    completion, _ = read_completion(body(token_ids=[3, 4], logprobs=logprobs), "m")
    assert completion.token_ids == (3, 4)
    assert completion.logprobs == (-0.5, -1.0)
    completion, _ = read_completion(body(token_ids=["no"], logprobs={"content": None}), "m")
    assert (completion.token_ids, completion.logprobs) == (None, None)


def test_typed_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "b"}]
    assert read_completion(body({"content": parts}), "m")[0].text == "ab"


def test_a_missing_usage_is_reported() -> None:
    assert read_completion(body(), "m")[1] is False
    counted = json.dumps({"choices": [{"message": {"content": ""}}], "usage": {"prompt_tokens": 3}}).encode()
    completion, is_counted = read_completion(counted, "m")
    assert (is_counted, completion.usage.prompt_tokens, completion.usage.completion_tokens) == (True, 3, 0)


def test_another_models_name_is_kept() -> None:
    assert read_completion(body(), "m")[0].model == ""
    assert read_completion(body(), "other")[0].model == "m"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "an empty body"),
        (b'{"choi', "6 bytes that are not whole JSON"),
        (b"{}", "no choice"),
        (b"[]", "no choice"),
    ],
)
def test_an_incomplete_answer_is_refused_and_quoted(raw: bytes, message: str) -> None:
    with pytest.raises(ReplyError, match=message):
        read_completion(raw, "m")


NAMES = ["choices", "message", "content", "usage", "model", "finish_reason", "text", "type"]
LEAVES = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES), inner)))
def test_no_json_breaks_it(value: Any) -> None:
    with contextlib.suppress(ReplyError):
        read_completion(json.dumps(value).encode(), "m")


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.",
        "the request exceeds the available context size. try increasing the context size",
        "Requested token count exceeds the model's maximum context length of 4096 tokens.",
        "Error code: exceed_context_size_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ],
)
def test_errors_of_known_servers_are_read_as_overflow(message: str) -> None:
    assert is_overflow(message)


def test_other_refusals_are_not_read_as_overflow() -> None:
    assert not is_overflow("Unsupported value: 'temperature' does not support 0.0 with this model.")
