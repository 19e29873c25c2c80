"""Reading a stream: every way to write one, every way to report an error in it, and no input that breaks the reader."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.errors import ModelError
from metagym.models.server_replies import ReplyError, read_completion
from metagym.models.server_streams import is_stream, is_whole_stream, read_stream
from metagym.testing import ServerReply
from tests.conftest import Serve
from tests.models.calling import ENDED, USAGE, chunk, complete, model_at, sse

WHOLE = {
    "usual": sse(*ENDED),
    "without [DONE]": sse(*ENDED, done=False),
    "[DONE] alone ends it": sse(chunk("ok"), {"choices": [], "usage": USAGE}),
    "CRLF": sse(*ENDED, end="\r\n\r\n"),
    "CR": sse(*ENDED, end="\r\r"),
    "one line end": sse(*ENDED, end="\n"),
    "comments": sse(": OPENROUTER PROCESSING", *ENDED, ": bye"),
    "named events": sse("event: message", "id: 1", "retry: 100", *ENDED),
    "no space": sse(*ENDED).replace("data: ", "data:"),
    "a mark of the byte order": "\ufeff" + sse(": first", *ENDED),
    "a mark before the first text": "\ufeff" + sse(*ENDED),
    "several lines an event": sse(
        'data: {"choices": [{"delta":\ndata: {"content": "ok"},\ndata: "finish_reason": "stop"}],', done=False
    ).replace("],\n\n", f'],\ndata: "usage": {json.dumps(USAGE)}}}\n\ndata: [DONE]\n\n'),
    "usage in each chunk": sse(
        {**chunk("o"), "usage": {"prompt_tokens": 5, "completion_tokens": 1}}, {**chunk("k", "stop"), "usage": USAGE}
    ),
    "usage with the end": sse({**chunk("ok", "stop"), "usage": USAGE}),
    "a whole message at the end": sse(
        chunk("ok"), {"choices": [{"delta": {}, "message": {"content": "ok"}, "finish_reason": "stop"}], "usage": USAGE}
    ),
    "a message instead of deltas": sse({"choices": [{"message": {"content": "ok"}}], "usage": USAGE}),
    "a second choice": sse(
        chunk("ok"), {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}]}, *ENDED[1:]
    ),
    "an error after the end": sse(*ENDED, {"error": {"message": "the client has gone"}}),
    "typed parts": sse(
        {"choices": [{"delta": {"content": [{"type": "text", "text": "o"}]}}]}, chunk("k", "stop"), ENDED[1]
    ),
}


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE)
def test_each_way_to_write_a_stream_is_read(serve: Serve, raw: str) -> None:
    model = model_at(serve(ServerReply(raw=raw)), max_retries=0)
    assert complete(model).text == "ok"
    assert model.ledger.spent().usage.completion_tokens == 3


ERRORS = {
    "vLLM": sse(chunk("o"), {"error": {"message": "engine died", "type": "InternalServerError", "code": 500}}),
    "older vLLM": sse(chunk("o"), {"object": "error", "message": "engine died", "code": 500}),
    "TGI": sse({"error": "engine died", "error_type": "generation"}, done=False),
    "llama.cpp": 'error: {"code": 500, "message": "engine died", "type": "server_error"}\n\n',
    "named event": sse('event: error\ndata: {"message": "engine died"}', done=False),
    "a text": sse(chunk("o"), "engine died".join(('data: "', '"'))),
    "in the choice": sse(chunk("o", error={"message": "engine died"})),
    "FastAPI": sse({"detail": "engine died"}, done=False),
    "a proxy, as plain JSON": sse(chunk("o"), '{"error": {"message": "engine died", "code": 502}}', done=False),
    "a proxy, on several lines": sse(chunk("o"), '{\n"error":\n"engine died"\n}', done=False),
}


@pytest.mark.parametrize("raw", ERRORS.values(), ids=ERRORS)
def test_each_way_to_report_an_error_in_a_stream_is_read(serve: Serve, raw: str) -> None:
    with pytest.raises(ModelError, match="engine died"):
        complete(model_at(serve(ServerReply(raw=raw)), max_retries=0))


def test_the_calls_of_tools_in_a_stream_are_joined() -> None:
    deltas: list[dict[str, Any]] = [
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "open", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"door"'}}]},
        {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "wait", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
    ]
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
    response = read_stream(sse(*chunks, chunk("", "tool_calls")).encode())
    calls = response["choices"][0]["message"]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "open", "arguments": '{"door": 1}'},
        {"name": "wait", "arguments": "{}"},
    ]
    assert [call["id"] for call in calls] == ["a", "b"]


@pytest.mark.parametrize("index", [{"index": 0}, {}], ids=["one index for all, as Gemini", "no index"])
def test_calls_of_other_ids_are_other_calls(index: dict[str, int]) -> None:
    parts: list[dict[str, Any]] = [
        {"id": "a", "function": {"name": "open", "arguments": '{"door"'}},
        {"id": "a", "function": {"arguments": ": 1}"}},
        {"id": "b", "function": {"name": "wait", "arguments": "{}"}},
        {"id": "", "function": {"arguments": " "}},
    ]
    chunks = [{"choices": [{"delta": {"tool_calls": [part | index]}}]} for part in parts]
    response = read_stream(sse(*chunks, chunk("", "tool_calls")).encode())
    calls = response["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("a", '{"door": 1}'), ("b", "{} ")]


def test_an_id_without_a_name_begins_no_call() -> None:
    parts = [  # older versions of vLLM, Poolside
        {"index": 0, "id": "a", "type": "function", "function": {"name": "open"}},
        {"index": 0, "id": "b", "function": {"arguments": '{"door"'}},
        {"index": 0, "id": "c", "function": {"arguments": ": 1}"}},
    ]
    chunks = [{"choices": [{"delta": {"tool_calls": [part]}}]} for part in parts]
    response = read_stream(sse(*chunks, chunk("", "tool_calls")).encode())
    calls = response["choices"][0]["message"]["tool_calls"]
    function = {"name": "open", "arguments": '{"door": 1}'}
    assert calls == [{"id": "a", "type": "function", "function": function}]


def test_a_late_stop_hides_no_reply_that_was_cut_off() -> None:
    response = read_stream(sse(chunk("ok", "length"), chunk("", "stop"), ENDED[1]).encode())
    assert response["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("refusal", [sse({"choices": [{"delta": {"refusal": "I cannot."}}]}, chunk("", "stop")), None])
def test_a_refusal_in_a_field_of_its_own_is_the_reply(refusal: str | None) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot."}
    body = refusal or json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert read_completion(body.encode(), "m")[0].text == "I cannot."


def test_a_prefix_of_a_stream_is_whole_only_from_its_end() -> None:
    raw = sse(chunk("a"), chunk("b", "stop"), {"choices": [], "usage": USAGE}).encode()
    end = raw.index(b'"stop"')
    assert next(n for n in range(len(raw)) if is_whole_stream(raw[:n])) > end
    assert is_whole_stream(raw)


def test_an_answer_in_one_piece_is_no_stream() -> None:
    assert not any(is_stream(raw) for raw in (b"", b"{}", b": comment\n\n{}", b"<html>", b'{"text": "\ndata: x"}'))


@pytest.mark.parametrize("size", [1_000, 32_000])
@pytest.mark.parametrize("part", [b"data: {\n", b'data: {"a":1,\n', b"data: [\n\n", b"data:\n", b"\r"])
def test_a_stream_of_nonsense_is_refused_in_linear_time(part: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="a stream w"):
        read_stream(part * size)


NAMES = ("choices", "delta", "message", "content", "reasoning", "tool_calls", "function", "arguments", "name", "index")
MORE = ("usage", "model", "error", "finish_reason", "logprobs", "token_ids", "type", "text", "function_call", "detail")
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "text", "stop", "[DONE]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from((*NAMES, *MORE)), inner, max_size=6),
    max_leaves=12,
)


@given(st.lists(ODD, max_size=4), st.lists(ODD, max_size=3))
def test_no_chunk_breaks_the_reader(chunks: list[Any], deltas: list[Any]) -> None:
    chunks += [{"choices": [{"delta": delta, "message": delta}]} for delta in deltas]
    with contextlib.suppress(ReplyError):
        completion, _ = read_completion(sse(*[f"data: {json.dumps(chunk)}" for chunk in chunks]).encode(), "m")
        assert isinstance(completion.text, str)


@given(st.binary())
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    for body in (raw, b"data: " + raw, b"data: {}\n\n" + raw, raw + b"\n\ndata: [DONE]\n\n"):
        is_whole_stream(body)
        with contextlib.suppress(ReplyError):
            read_completion(body, "m")
