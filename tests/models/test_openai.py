"""The OpenAI-compatible client against a real server: what it sends, what it returns, and no leaked key."""

from __future__ import annotations

import asyncio
import gc
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from metagym import OpenAIChatModel
from metagym.background import LOOP
from metagym.errors import ConfigError
from metagym.models import Call
from metagym.models.client_config import PLACEHOLDER_KEY
from metagym.testing import FakeOpenAIServer, ServerReply
from metagym.types import Completion, Message
from tests.conftest import Serve
from tests.models.calling import CALL, MESSAGES, STREAM, complete, completion_body, model_at


def test_a_request_carries_model_messages_seed_and_default_sampling(serve: Serve) -> None:
    server = serve("ok")
    complete(model_at(server))
    body = server.requests[0].body
    assert body == {**STREAM, "model": "m", "messages": MESSAGES, "seed": 1234, "max_tokens": 4_096}


def test_sampling_overrides_the_defaults_and_none_removes_one(serve: Serve) -> None:
    server = serve("ok")
    complete(model_at(server, sampling={"max_tokens": None, "top_p": 0.5, "stop": ["\n"], "seed": 7}))
    body = server.requests[0].body
    assert "max_tokens" not in body
    assert (body["top_p"], body["stop"], body["seed"]) == (0.5, ["\n"], 7)


def test_the_seed_can_be_removed_for_servers_that_refuse_it(serve: Serve) -> None:
    server = serve("ok")
    complete(model_at(server, sampling={"seed": None}))
    assert "seed" not in server.requests[0].body


def test_max_completion_tokens_replaces_max_tokens(serve: Serve) -> None:
    server = serve("ok")
    complete(model_at(server, sampling={"max_completion_tokens": 9}))
    body = server.requests[0].body
    assert ("max_tokens" in body, body["max_completion_tokens"]) == (False, 9)


def test_the_openai_key_is_never_sent_to_a_given_base_url(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = serve("ok")
    complete(model_at(server))
    request = server.requests[0]
    assert request.headers["Authorization"] == f"Bearer {PLACEHOLDER_KEY}"
    assert "sk-secret" not in str(request)


def test_a_given_base_url_gets_the_key_that_api_key_env_names(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("MY_KEY", "mine")
    server = serve("ok")
    model = model_at(server, api_key_env="MY_KEY")
    complete(model)
    assert server.requests[0].headers["Authorization"] == "Bearer mine"
    assert "mine" not in str(model.fingerprint)


def test_the_base_url_of_the_environment_gets_the_key_of_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("ok")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")
    complete(OpenAIChatModel("m"))
    assert server.requests[0].headers["Authorization"] == "Bearer sk-own"


def test_a_server_on_loopback_gets_a_placeholder_key(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve("ok")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    assert complete(OpenAIChatModel("m")).text == "ok"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Expected a key or a server, got neither. Set OPENAI_API_KEY, or give the base_url of your own server"),
        ({"api_key_env": "NOT_SET"}, r"api_key_env names NOT_SET, which is not set. Set it: export NOT_SET="),
        (
            {"base_url": "localhost:8000/v1"},
            "base_url must be a URL such as 'http://localhost:8000/v1', got 'localhost",
        ),
        ({"base_url": "http://x/v1", "timeout_s": 0}, "Expected timeout_s > 0 and max_retries >= 0, got 0 and 8"),
        ({"base_url": "http://x/v1", "max_retries": -1}, "got 120.0 and -1"),
    ],
)
def test_impossible_options_are_refused_at_once_with_the_remedy(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIChatModel("m", **options)


def test_an_empty_model_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model must name a model, got an empty text"):
        OpenAIChatModel("", base_url="http://x/v1")


def test_a_reply_carries_text_and_usage(serve: Serve) -> None:
    completion = complete(model_at(serve("Action: knock")))
    assert completion.text == "Action: knock"
    assert completion.finish_reason == "stop"
    assert completion.usage.model_dump() == {
        "prompt_tokens": 4,
        "cached_tokens": 0,
        "completion_tokens": 2,
        "num_calls": 1,
    }


def test_cached_tokens_are_counted(serve: Serve) -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    assert complete(model_at(serve(ServerReply(raw=completion_body(usage=usage))))).usage.cached_tokens == 8


def test_a_reply_without_usage_is_a_reply(serve: Serve) -> None:
    completion = complete(model_at(serve(ServerReply(raw=completion_body()))))
    assert (completion.text, completion.usage.num_calls, completion.usage.prompt_tokens) == ("ok", 1, 0)


def test_reasoning_is_kept_apart_from_the_reply(serve: Serve) -> None:
    message = {"role": "assistant", "content": "Action: knock", "reasoning_content": "Action: push?"}
    raw = completion_body(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])
    completion = complete(model_at(serve(ServerReply(raw=raw))))
    assert (completion.text, completion.reasoning) == ("Action: knock", "Action: push?")


def test_a_cut_off_reply_has_the_finish_reason_length(serve: Serve) -> None:
    assert complete(model_at(serve(ServerReply("Thought: and", finish_reason="length")))).finish_reason == "length"


def test_an_empty_reply_is_an_empty_text(serve: Serve) -> None:
    message = {"role": "assistant", "content": None}
    raw = completion_body(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])
    assert complete(model_at(serve(ServerReply(raw=raw)))).text == ""


def test_a_lone_surrogate_in_a_reply_is_replaced(serve: Serve) -> None:
    raw = completion_body().replace('"ok"', r'"a\ud800b"')
    assert complete(model_at(serve(ServerReply(raw=raw)))).text == "a\ufffdb"


def test_a_lone_surrogate_in_a_message_does_not_hang_or_leak_an_untyped_error(serve: Serve) -> None:
    server = serve("ok")
    messages: list[Message] = [{"role": "user", "content": "a\ud800b"}]
    assert complete(model_at(server), messages).text == "ok"
    assert server.requests[0].messages[0]["content"].encode()


@pytest.fixture
def on_the_background_loop() -> Iterator[None]:
    yield
    LOOP.close()


def test_one_model_serves_several_event_loops(serve: Serve) -> None:
    model = model_at(serve("ok"))
    assert [complete(model).text for _ in range(3)] == ["ok"] * 3


def test_many_calls_go_out_at_once(serve: Serve) -> None:
    server = serve("ok")

    async def main(model: OpenAIChatModel) -> list[Completion]:
        try:
            return await asyncio.gather(*(model.complete(MESSAGES, CALL) for _ in range(50)))
        finally:
            await model.aclose()

    assert [c.text for c in asyncio.run(main(model_at(server)))] == ["ok"] * 50
    assert len(server.requests) == 50


@pytest.mark.usefixtures("on_the_background_loop")
def test_a_forgotten_client_is_closed_with_the_background_loop(serve: Serve) -> None:
    model = model_at(serve("ok"))
    assert LOOP.run(model.complete(MESSAGES, CALL)).text == "ok"
    LOOP.close()
    assert LOOP.run(model.complete(MESSAGES, CALL)).text == "ok"


def test_aclose_twice_is_fine(serve: Serve) -> None:
    async def main(model: OpenAIChatModel) -> None:
        await model.complete(MESSAGES, CALL)
        await model.aclose()
        await model.aclose()

    asyncio.run(main(model_at(serve("ok"))))


def test_the_fingerprint_holds_model_server_and_sampling_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    model = OpenAIChatModel("m", base_url="http://x/v1", api_key_env="MY_KEY", sampling={"top_p": 0.5})
    assert model.fingerprint == {
        "model": "m",
        "base_url": "http://x/v1",
        "sampling": {"max_tokens": 4_096, "top_p": 0.5},
    }


def test_a_closed_model_is_freed() -> None:
    with FakeOpenAIServer(lambda request: "hello") as server:
        model = OpenAIChatModel("m", base_url=server.base_url)
        LOOP.run(model.complete([{"role": "user", "content": "hi"}], Call("actor")))
        LOOP.run(model.aclose())
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_a_model_goes_to_another_process_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-1")
    model = OpenAIChatModel(
        "m", base_url="http://localhost:1/v1", api_key_env="MY_KEY", sampling={"top_p": 0.5}, timeout_s=7
    )
    sent = pickle.dumps(model)
    assert b"secret-1" not in sent
    monkeypatch.setenv("MY_KEY", "secret-2")
    made = pickle.loads(sent)
    assert (made.fingerprint, made.timeout_s, made._api_key) == (model.fingerprint, 7, "secret-2")
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY, which is not set"):
        pickle.loads(sent)


def test_a_process_whose_environment_names_another_server_refuses_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    sent = pickle.dumps(OpenAIChatModel("m"))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:2/v1")
    with pytest.raises(ConfigError, match=r"Expected the server http://localhost:1/v1.*got 'http://localhost:2/v1'"):
        pickle.loads(sent)
