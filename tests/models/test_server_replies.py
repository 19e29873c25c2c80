"""From a server's answer to a completion: reasoning apart, tokens counted, nonsense refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.actor import read_reply
from metagym.models.server_replies import (
    ReplyError,
    ServerError,
    read_completion,
    read_error,
    read_usage,
    split_reasoning,
)
from metagym.models.server_words import has_meaning
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
    assert read_completion(counted, "m")[1] is False


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
    assert has_meaning("overflow", message)


def test_other_refusals_are_not_read_as_overflow() -> None:
    assert not has_meaning("overflow", "Unsupported value: 'temperature' does not support 0.0 with this model.")


# Errors in every shape -----------------------------------------------------------------------------------


WORDS = "Model is unloaded, load one first"


@pytest.mark.parametrize(
    "shape",
    [
        {"error": WORDS},
        {"error": {"message": WORDS, "type": "x", "code": None}},
        {"error": {"error": {"message": WORDS}}},
        {"detail": WORDS},
        {"detail": [{"loc": ["body", "seed"], "msg": WORDS}]},
        {"message": WORDS, "code": 500},
        {"errors": [{"title": WORDS}]},
        [{"error": {"message": WORDS}}],
        {"error": {"message": "Provider returned error", "metadata": {"raw": WORDS}}},
    ],
)
def test_the_servers_own_words_are_read_from_an_error_of_any_shape(shape: Any) -> None:
    assert WORDS in read_error(json.dumps(shape).encode()).message


@pytest.mark.parametrize("raw", [WORDS.encode(), f"<html>{WORDS}</html>".encode(), WORDS.encode() + b"\xff"])
def test_plain_text_is_an_error_too(raw: bytes) -> None:
    assert WORDS in read_error(raw).message


def test_an_error_keeps_its_codes_its_parameter_and_its_status() -> None:
    raw = b'{"error": {"message": "m", "type": "Rate_Limit", "code": 429, "param": "seed"}}'
    assert read_error(raw) == ServerError("m", frozenset({"rate_limit", "429"}), "seed", 429)


@pytest.mark.parametrize(("code", "status"), [(429, 429), ("429", 429), ("1261", None), ("４２９", None), (True, None)])
def test_a_status_may_be_a_number_or_its_digits(code: Any, status: int | None) -> None:
    assert read_error({"error": {"message": "m", "code": code}}).status == status


@pytest.mark.parametrize(
    "response",
    [
        {"error": {"message": WORDS, "code": 502}},
        {"choices": [{"message": {"content": "Thou"}, "error": {"message": WORDS}, "finish_reason": None}]},
        {"choices": [{"message": {"content": "Thou"}, "finish_reason": "error"}]},
        {"choices": [], "error": WORDS},
    ],
)
def test_an_error_under_a_status_of_success_is_an_error(response: Any) -> None:
    with pytest.raises(ReplyError, match="under a status of success") as raised:
        read_completion(json.dumps(response).encode(), "m")
    assert raised.value.error is not None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["error", "detail", "message", "code", "loc", "msg", "metadata", "raw"]), x
            )
        ),
    )
)
def test_no_error_body_breaks_the_reader(value: Any) -> None:
    assert isinstance(read_error(json.dumps(value).encode()).message, str)


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"error":' * 5_000 + b"1" + b"}" * 5_000])
def test_a_deep_body_is_an_error_and_not_the_end(raw: bytes) -> None:
    assert isinstance(read_error(raw).message, str)
    with pytest.raises(ReplyError):
        read_completion(raw, "m")


# Usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"total_tokens": 120},
        {"input_tokens": 100, "output_tokens": 20},
        {"prompt_tokens": 100.0, "completion_tokens": 20.0},
        {"prompt_tokens": "100", "completion_tokens": "20"},
        {"prompt_tokens": -5, "completion_tokens": 20},
        {"prompt_tokens": True, "completion_tokens": True},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 101}},
        {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": "9"}},
        {"prompt_tokens": 0, "completion_tokens": 20},
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 20},
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": -120},
    ],
)
def test_a_usage_that_cannot_be_true_is_unknown(usage: Any) -> None:
    assert read_usage(usage) is None


def test_a_reply_of_no_tokens_that_has_a_text_is_not_counted() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 0}
    for text in ("Action: push", ""):
        raw = json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()
        assert read_completion(raw, "m")[1] is not bool(text)


@pytest.mark.parametrize(
    "more", [{"total_tokens": 520}, {"total_tokens": 120, "completion_tokens_details": {"reasoning_tokens": 400}}]
)
def test_reasoning_that_is_counted_apart_belongs_to_the_completion(more: dict[str, Any]) -> None:
    counted = read_usage({"prompt_tokens": 100, "completion_tokens": 20, **more})
    assert counted is not None
    assert counted.completion_tokens == 420


# Ends and streams ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("stop", "stop"),
        (None, "stop"),
        ("end_turn", "stop"),
        ("EOS", "stop"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("SAFETY", "content_filter"),
        ("tool_use", "tool_calls"),
        ("odd", "odd"),
    ],
)
def test_each_servers_name_for_the_end_has_its_standard_name(reason: str | None, name: str) -> None:
    assert read_completion(body(finish_reason=reason), "m")[0].finish_reason == name


def test_a_message_without_content_is_an_empty_reply() -> None:
    raw = json.dumps({"choices": [{"message": {"role": "assistant"}, "finish_reason": "length"}]}).encode()
    assert (read_completion(raw, "m")[0].text, read_completion(raw, "m")[0].finish_reason) == ("", "length")


def test_a_filtered_choice_without_a_message_is_an_empty_reply() -> None:
    for choice in ({"finish_reason": "content_filter"}, {"finish_reason": "SAFETY", "message": None}):
        completion = read_completion(json.dumps({"choices": [{"index": 0, **choice}]}).encode(), "m")[0]
        assert (completion.text, completion.finish_reason) == ("", "content_filter")
    with pytest.raises(ReplyError, match="no choice with a message"):
        read_completion(b'{"choices": [{"finish_reason": "stop"}]}', "m")


def test_a_stream_is_read_though_none_was_asked_for() -> None:
    chunks = [
        {"choices": [{"delta": {"content": "Thought: x\n"}}], "model": "other"},
        {"choices": [{"delta": {"content": "Action: push"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    ]
    raw = b": PROCESSING\n\n" + b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    completion, is_counted = read_completion(raw + b"data: [DONE]\n\n", "m")
    assert (completion.text, completion.model, is_counted) == ("Thought: x\nAction: push", "other", True)


def test_comments_before_the_json_are_passed_over() -> None:
    assert read_completion(b": PROCESSING\n\n" + body({"content": "ok"}), "m")[0].text == "ok"


@pytest.mark.parametrize(
    "text",
    [
        "[THINK]a[/THINK]b",
        "<thought>a</thought>b",
        "<seed:think>a</seed:think>b",
        "<THINK>a</THINK>b",
        "a[/THINK]b",
        "<think>a</think>\n<think></think>b",
        "<think >a</think>b",
        "<longcat_think>a</longcat_think>b",
        "◁think▷a◁/think▷b",
        "<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>b<|end_of_solution|>",
        "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>",
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>",
        "<|channel|>analysis<|message|>a<|start|>assistant<|channel|>final<|message|>b",
        "<unused94>thought\na<unused95>b",
    ],
)
def test_reasoning_in_any_known_mark_is_no_part_of_the_reply(text: str) -> None:
    assert split_reasoning(text) == ("a", "b")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x", None, True])
def test_log_probabilities_that_are_no_numbers_are_left_out(value: Any) -> None:
    content = [{"logprob": -0.5}, {"logprob": value}]
    raw = json.dumps({"choices": [{"message": {"content": ""}, "logprobs": {"content": content}}]}).encode()
    assert read_completion(raw, "m")[0].logprobs in (None, (-0.5, 1.0))


# Tools and typed parts -----------------------------------------------------------------------------------

CALL = {"id": "a", "type": "function", "function": {"name": "open", "arguments": '{"door": 1}'}}


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        ({"content": None, "tool_calls": [CALL]}, [CALL]),
        ({"content": "I open it.", "tool_calls": [CALL, CALL]}, [CALL, CALL]),
        ({"function_call": CALL["function"]}, [{"function": CALL["function"]}]),
        ({"tool_calls": [{"function": {"name": "open", "arguments": {"door": 1}}}]}, None),
        ({"content": "", "tool_calls": []}, []),
        ({"content": "", "tool_calls": None, "function_call": None}, []),
        ({"content": "", "tool_calls": [None, 1, {}, {"function": "open"}]}, []),
        ({"content": "", "tool_calls": "open"}, []),
    ],
)
def test_calls_of_tools_are_kept_as_the_server_sent_them(message: Any, calls: list[Any] | None) -> None:
    kept = [json.loads(call) for call in read_completion(body(message), "m")[0].tool_calls]
    assert kept == (message["tool_calls"] if calls is None else calls)


def test_reasoning_among_typed_parts_is_kept_apart() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Iron."}]}
    completion, _ = read_completion(body({"content": [thinking, {"type": "text", "text": "Action: push"}]}), "m")
    assert (completion.text, completion.reasoning) == ("Action: push", "Iron.")
