"""The fake server is a real HTTP server that speaks the OpenAI protocol, and a seed decides which request fails."""

from __future__ import annotations

import http.client
import json
import urllib.request
from typing import Any

import pytest

from metagym.errors import ModelError, UnknownNameError
from metagym.models import ClientConfig
from metagym.testing import FAULTS, FakeOpenAIServer, ServerReply, ServerRequest, misbehave
from metagym.types import Message
from tests.conftest import Serve
from tests.models.calling import complete, model_at

USER: Message = {"role": "user", "content": "one two three"}
ANSWERS = {
    *(
        "slow",
        "empty reply",
        "huge reply",
        "wrong model",
        "no usage",
        "lying usage",
        "boasting usage",
        "filtered reply",
    ),
    *("slow trickle", "no [DONE]", "comments", "no stream"),
    *(
        "half a call",
        "unknown tool",
        "calls with one id",
        "calls and text",
        "arguments as an object",
        "call in the text",
    ),
}
"""The faults that are still replies; the others are errors."""


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


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_a_typed_error_or_a_reply(serve: Serve, name: str) -> None:
    server = serve(misbehave(lambda request: "Action: knock", {name: 1.0}))
    model = model_at(server, max_retries=0, timeout_s=0.05 if name.startswith("silent") else 10, client=ClientConfig())
    if name not in ANSWERS:
        with pytest.raises(ModelError, match=r"(Expected a reply from|ends the conversation with) model 'm'"):
            complete(model)
    else:
        completion = complete(model)
        assert completion.model == ("another-model" if name == "wrong model" else "")
        assert len(completion.text) == {"empty reply": 0, "huge reply": 500_000}.get(name, 13)
    assert len(server.delivered) == (name in ANSWERS)


def request(seed: int) -> ServerRequest:
    return ServerRequest(0, {"messages": [], "seed": seed}, {})


def test_a_fault_does_not_depend_on_the_order_of_requests() -> None:
    def replies(order: list[int]) -> dict[int, list[ServerReply]]:
        answer = misbehave(lambda request: "ok", seed=3)
        seen: dict[int, list[ServerReply]] = {}
        for seed in order:
            seen.setdefault(seed, []).append(answer(request(seed)))
        return seen

    seeds = list(range(60)) * 2
    assert replies(seeds) == replies(sorted(seeds)) == replies(seeds[::-1])


def test_another_seed_gives_other_faults() -> None:
    first, second = ([misbehave(lambda r: "ok", seed=seed)(request(i)) for i in range(200)] for seed in (0, 1))
    assert first != second


def test_faults_occur_at_about_their_rates() -> None:
    answer = misbehave(lambda request: "ok", {"500": 0.3})
    for seed in range(2000):
        answer(request(seed))
    assert 0.26 < answer.counts["500"] / 2000 < 0.34


def test_a_burst_hits_the_next_requests() -> None:
    answer = misbehave(lambda request: "ok", {"500": 0.05}, burst=4)
    statuses = [answer(request(seed)).status for seed in range(500)]
    first = statuses.index(500)
    assert statuses[first : first + 4] == [500] * 4


def test_unknown_faults_and_impossible_rates_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown fault 'slwo': expected one of .* Did you mean 'slow'"):
        misbehave(lambda request: "ok", {"slwo": 0.1})
    with pytest.raises(ValueError, match=r"rates must sum to at most 1, got 1\.5"):
        misbehave(lambda request: "ok", {"slow": 0.75, "cut": 0.75})
