"""A server that answers, but whose window is too short or whose template takes no conversation."""

from __future__ import annotations

from typing import Any

import pytest

from metagym.doctor import State
from metagym.doctor.fit import check_template, check_window
from metagym.testing import ServerReply
from tests.conftest import Serve

ASK: dict[str, Any] = {"query": {}, "key": "none", "timeout_s": 5.0}


@pytest.mark.parametrize("name", ["max_model_len", "context_length", "context_window"])
def test_a_short_window_is_a_warning_that_names_the_options(name: str, serve: Serve) -> None:
    url = serve(lambda request: "yes").base_url
    (found,) = check_window(url, {"id": "tiny", name: 2_048}, **ASK)
    assert found.state == State.WARNING
    assert "holds 2,048 tokens in its context window, expected at least 16,384" in found.message
    assert "--max-model-len 16384" in found.remedy
    assert list(check_window(url, {"id": "large", name: 32_768}, **ASK)) == []
    assert list(check_window(url, {"id": "silent"}, **ASK)) == []


def test_a_template_that_takes_no_conversation_is_a_problem(serve: Serve) -> None:
    said = "As of transformers v4.44, default chat template is no longer allowed"
    server = serve(lambda request: ServerReply(said, status=400))
    (found,) = check_template(server.base_url, "base", **ASK)
    assert found.state == State.PROBLEM
    assert "default chat template is no longer allowed" in found.message
    assert "--chat-template FILE" in found.remedy


@pytest.mark.parametrize(
    "reply",
    [
        ServerReply("yes"),
        ServerReply("System role not supported by the chat template", status=400),
        ServerReply("the server is busy", status=503),
    ],
    ids=["an answer", "no system role", "busy"],
)
def test_other_replies_are_no_fault_of_the_template(reply: ServerReply, serve: Serve) -> None:
    assert list(check_template(serve(lambda request: reply).base_url, "chat", **ASK)) == []


def test_a_server_elsewhere_is_not_asked_because_a_call_may_cost_something() -> None:
    assert list(check_template("https://api.example.org/v1", "paid", **ASK)) == []
