"""The fake server is a real HTTP server that speaks the OpenAI protocol, well or badly."""

from __future__ import annotations

import http.client
import json
import urllib.request
from typing import Any

import pytest

from metagym.testing import FakeOpenAIServer, ServerReply
from metagym.types import Message
from tests.conftest import Serve

USER: Message = {"role": "user", "content": "one two three"}


def post(server: FakeOpenAIServer) -> tuple[int, Any]:
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        body = json.dumps({"model": "m", "messages": [USER]})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_it_speaks_the_protocol(serve: Serve) -> None:
    server = serve(lambda request: f"reply {request.number} to {request.messages[0]['content']}")
    status, body = post(server)
    assert status == 200
    assert body["choices"][0]["message"]["content"] == "reply 0 to one two three"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}
    assert server.requests[0].body["model"] == "m"


def test_it_replies_as_badly_as_asked(serve: Serve) -> None:
    assert post(serve(ServerReply("busy", status=503))) == (
        503,
        {"error": {"message": "busy", "type": "fault", "code": None}},
    )
    assert post(serve(ServerReply(raw='{"odd": 1}'))) == (200, {"odd": 1})
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        post(serve(ServerReply(cut=True)))


def test_it_lists_its_model() -> None:
    with FakeOpenAIServer(lambda request: "ok") as server, urllib.request.urlopen(f"{server.base_url}/models") as reply:
        assert json.load(reply)["data"][0]["id"] == "fake"
