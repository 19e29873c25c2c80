"""Waiting: how long a server asks for, and how an outage is waited for by time, not by tries."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from metagym.errors import ModelError
from metagym.models import ClientConfig
from metagym.models.server_failures import _read_retry_after as read_retry_after
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest, misbehave
from tests.conftest import Serve
from tests.models.calling import CALL, MESSAGES, Then, complete, model_at


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "0", "retry-after": "7"}, 7.0),
        ({"retry-after": "86400"}, 86400.0),
    ],
)
def test_the_pause_that_a_server_asks_for_is_read(headers: dict[str, str], expected: float) -> None:
    assert read_retry_after(headers) == pytest.approx(expected)


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0900", "-0330", ""])
def test_a_date_in_any_zone_is_a_pause(zone: str) -> None:
    hours = {"+0900": 9.0, "-0330": -3.5}.get(zone, 0.0)
    moment = datetime.now(UTC) + timedelta(hours=hours, seconds=60)
    value = f"{moment:%a, %d %b %Y %H:%M:%S} {zone}".strip()
    assert read_retry_after({"retry-after": value}) == pytest.approx(60.0, abs=5)


@pytest.mark.parametrize(
    "value",
    [
        *("0", "-5", "0.0", "", "soon", "nan", "inf", "-inf", "1e400", "0x10", "5 seconds", "None"),
        *("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00", "21/10/2015", "Wed, 99 Oct 2099 07:28:00 GMT"),
        "9" * 400,
    ],
)
def test_zero_the_past_and_nonsense_are_no_pause(value: str) -> None:
    assert read_retry_after({"retry-after": value}) is None


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("value", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_server_that_asks_for_no_pause_is_still_not_hammered(serve: Serve, value: str) -> None:
    busy = ServerReply("busy", status=429, headers={"Retry-After": value})
    server = serve(Then(*[busy] * 5, "ok"))
    assert complete(model_at(server, max_retries=2)).text == "ok"
    assert len(server.requests) == 6


def test_a_pause_longer_than_the_limit_is_said_and_not_waited_for(serve: Serve) -> None:
    server = serve(ServerReply("busy", status=503, headers={"Retry-After": "86400"}))
    with pytest.raises(ModelError, match=r"asks to wait 86400 s, longer than max_retry_s=300 allows"):
        complete(model_at(server))
    assert len(server.requests) == 1


async def call_64(server: FakeOpenAIServer) -> list[str]:
    client = ClientConfig(first_pause_s=0.02, max_pause_s=0.2, breaker_s=30.0)
    model = model_at(server, max_retries=2, client=client)
    try:
        await model.complete(MESSAGES, CALL)  # a server that has answered is waited for
        calls = (model.complete(MESSAGES, CALL._replace(seed=seed)) for seed in range(64))
        return [completion.text for completion in await asyncio.gather(*calls)]
    finally:
        await model.aclose()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("status", [502, 503])
def test_64_calls_wait_for_a_server_that_restarts(serve: Serve, status: int) -> None:
    down_from: list[float] = []

    def respond(request: ServerRequest) -> ServerReply:
        if request.number == 1:
            down_from.append(time.monotonic())
        is_down = request.number > 0 and time.monotonic() - down_from[0] < 0.5
        return ServerReply("restarting", status=status) if is_down else ServerReply("ok")

    assert asyncio.run(call_64(serve(respond))) == ["ok"] * 64


def test_an_outage_hits_the_requests_in_its_time_only() -> None:
    now = [0.0]
    answer = misbehave(lambda request: "ok", {}, outages=[(1.0, 2.0), (5.0, 1.0)], clock=lambda: now[0])
    cut = []
    for second in (0.0, 0.9, 1.0, 2.9, 3.0, 5.5, 6.0):
        now[0] = second
        cut.append(answer(ServerRequest(0, {}, {})).cut)
    assert cut == [False, False, True, True, False, True, False]
    assert answer.counts["outage"] == 3
