"""What a user may give a client: sampling that hides no price, addresses without secrets, clean keys."""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any

import numpy as np
import pytest

from metagym import OpenAIChatModel
from metagym.errors import ConfigError, ModelError
from metagym.models.client_config import find_key, merge_sampling, read_base_url
from metagym.testing import ServerReply
from tests.conftest import Serve
from tests.models.calling import complete, completion_body, model_at

KEY = "sk-abcdef-0123456789"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"extra_body": {"top_k": 5}}, {"top_k": 5}),
        ({"extra_body": {"top_p": 0.5}, "top_p": 0.9}, {"top_p": 0.5}),
        ({"extra_body": None, "seed": None}, {"seed": None}),
        ({"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}, None),
        ({"temperature": np.float32(0.5)}, {"temperature": 0.5}),
        ({"max_tokens": np.int64(64)}, {"max_tokens": 64}),
        ({"logit_bias": {"5": np.int8(-3)}}, {"logit_bias": {"5": -3}}),
        ({"logprobs": np.bool_(True)}, {"logprobs": True}),
        ({"stop": ("a", "b")}, {"stop": ["a", "b"]}),
        ({"max_completion_tokens": 9}, {"max_completion_tokens": 9}),
    ],
)
def test_sampling_is_taken_as_users_of_the_sdk_expect(given: dict[str, Any], sent: dict[str, Any] | None) -> None:
    merged = merge_sampling(given)
    assert (sent if sent is not None else given["extra_body"]).items() <= merged.items()
    assert "extra_body" not in merged
    assert json.dumps(merged, allow_nan=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": float("nan")}, r"sampling\['temperature'\] must be JSON with finite numbers, got nan"),
        ({"top_p": np.float64("inf")}, "must be JSON with finite numbers"),
        ({"stop": {1, 2}}, "must be JSON with finite numbers"),
        ({"extra_body": {"min_p": float("-inf")}}, "must be JSON with finite numbers"),
        ({"extra_body": ["top_k"]}, "must be a mapping"),
        ({"max_tokens": -1}, r"must be a positive int, or None, got -1"),
        ({"max_tokens": True}, "must be a positive int, or None, got True"),
        ({"max_tokens": 5.0}, "must be a positive int"),
        ({"n": 0}, "must be a positive int"),
        ({"extra_body": {"best_of": "3"}}, "must be a positive int"),
        ({"extra_headers": {"Authorization": "x"}}, "is refused: headers may hold keys"),
        ({"extra_query": {"key": "x"}}, "is refused: headers may hold keys"),
        ({"api_key": "x"}, "is refused: name the variable"),
        ({"x-api-key": "x"}, "is refused: name the variable"),
        ({"extra_body": {"access_token": "x"}}, "is refused: name the variable"),
        ({"n_predict": 100_000}, "is refused: write max_tokens"),
        ({"extra_body": {"n_cmpl": 8}}, "is refused: write n"),
        ({"extra_body": {"Authorization": "x"}}, "is refused: name the variable"),
        ({"stream": False}, "is refused: the client sets it"),
        ({"extra_body": {"stream_options": {}}}, "is refused: the client sets it"),
        ({"extra_body": {"messages": []}}, "is refused: the client sets it"),
    ],
)
def test_sampling_that_hides_a_price_a_key_or_nonsense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        merge_sampling(given)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({"n": 3}, 3 * 4_096),
        ({"best_of": 4, "n": 2}, 4 * 4_096),
        ({"max_completion_tokens": 10, "n": 2}, 20),
        ({"max_completion_tokens": 10, "max_tokens": 90}, 90),
        ({}, 4_096),
    ],
)
def test_every_reply_that_is_paid_is_reserved(sampling: dict[str, Any], expected: int) -> None:
    assert OpenAIChatModel("m", base_url="http://x/v1", sampling=sampling).max_reply_tokens == expected


@pytest.mark.parametrize(
    ("url", "address", "query"),
    [
        ("http://x/v1", "http://x/v1", {}),
        (
            " https://x.example/openai?api-version=2024-10-21 ",
            "https://x.example/openai",
            {"api-version": "2024-10-21"},
        ),
        ("https://x/v1#part", "https://x/v1", {}),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1", {}),
        (None, None, {}),
    ],
)
def test_a_plain_query_of_an_address_is_sent_along(url: str | None, address: str | None, query: dict[str, str]) -> None:
    assert read_base_url(url) == (address, query)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@x/v1",
        "http://user@x/v1",
        "https://x/v1?key=abc",
        "https://x/v1?API_KEY=abc",
        "https://x/v1?sig=abc",
        "https://x/v1?a=b&access_token=c",
        "https://x/v1?abc-0123456789",
        "https://x/v1?code=abc",
        "https://x/v1#token=abc",
    ],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match="must hold no password and no key") as raised:
        read_base_url(url)
    assert not any(secret in str(raised.value) for secret in ("secret", "abc", "user"))


@pytest.mark.parametrize(
    "value", ["sk-1\n", " sk-1 ", '"sk-1"', "'sk-1'", "\u201csk-1\u201d", "sk-1\r\n"], ids=lambda value: ascii(value)
)
def test_a_key_that_was_pasted_with_its_surroundings_is_cleaned(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", value)
    assert find_key("http://x/v1", "http://x/v1", "MY_KEY") == "sk-1"


@pytest.mark.parametrize("value", ["sk-1\nsk-2", "sk 1", "sk-\u00fc", "sk-\t1"], ids=lambda value: ascii(value))
def test_a_key_that_no_header_can_hold_is_refused_without_repeating_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match="The key in MY_KEY must be one word of ASCII") as raised:
        find_key("http://x/v1", "http://x/v1", "MY_KEY")
    assert value not in str(raised.value)


# A key that the server repeats ---------------------------------------------------------------------------

CHOICE = {"index": 0, "message": {"content": f"Your key is {KEY}."}, "finish_reason": "stop"}
ECHOES = {
    "refused": ServerReply(f"Incorrect API key provided: {KEY}", status=401),
    "plain text": ServerReply(raw=f"Bearer {KEY} is not known", status=403),
    "as a parameter": ServerReply("no", status=400, error={"param": KEY}),
    "as a code": ServerReply("no", status=429, error={"code": KEY, "type": "insufficient_quota"}),
    "under status 200": ServerReply(raw=json.dumps({"error": {"message": f"bad key {KEY}"}})),
    "in a stream": ServerReply("a b c d", stream_error={"message": f"bad key {KEY}"}),
    "no JSON": ServerReply(raw=f"<html>{KEY}</html>"),
    "in a reply": ServerReply(raw=completion_body(choices=[CHOICE])),
    "as the model's name": ServerReply("ok", model=KEY),
}


@pytest.mark.parametrize("reply", ECHOES.values(), ids=ECHOES)
def test_a_key_that_the_server_repeats_is_masked_everywhere(
    serve: Serve, reply: ServerReply, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "metagym")
    monkeypatch.setenv("MY_KEY", KEY)
    model = model_at(serve(reply), api_key_env="MY_KEY", max_retries=0)
    shown = ""
    try:
        shown = complete(model).model_dump_json()
    except ModelError as error:
        shown = "".join(traceback.format_exception(error))
    assert KEY not in shown
    assert KEY not in caplog.text
    assert KEY not in repr(model.ledger.unknown) + repr(model.fingerprint)


def test_a_word_that_servers_without_keys_are_given_is_no_secret(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "EMPTY")
    assert complete(model_at(serve("The chest is EMPTY."), api_key_env="MY_KEY")).text == "The chest is EMPTY."
