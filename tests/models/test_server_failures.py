"""A server that misbehaves: what is retried, what fails at once, what may have been paid, and the remedy."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import time
from typing import Any

import pytest

from metagym import OpenAIChatModel
from metagym.errors import ContextOverflowError, ModelError, ModelUnavailableError
from metagym.models import Call, ClientConfig
from metagym.testing import ServerReply
from tests.conftest import Serve
from tests.models.calling import CALL, MESSAGES, Then, chunk, complete, completion_body, model_at, sse


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    "fault",
    [ServerReply(status=status) for status in (408, 409, 429, 500, 502, 503)] + [ServerReply(cut=True)],
    ids=lambda reply: str(reply.status if not reply.cut else "cut"),
)
def test_a_fault_that_may_pass_is_retried(serve: Serve, fault: ServerReply) -> None:
    server = serve(Then(fault, fault, "ok"))
    assert complete(model_at(server, max_retries=2)).text == "ok"
    assert len(server.requests) == 3


@pytest.mark.usefixtures("quick_retries")
def test_retries_are_bounded_and_counted(serve: Serve) -> None:
    server = serve(ServerReply("out of order", status=500))
    with pytest.raises(ModelError, match=r"Expected a reply from model 'm' at http.*out of order.*Tried 3 times"):
        complete(model_at(server, max_retries=2))
    assert len(server.requests) == 3


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("status", [429, 502, 503, 504, 529])
def test_a_server_that_is_not_available_is_waited_for_whatever_the_number_of_tries(serve: Serve, status: int) -> None:
    server = serve(lambda request: ServerReply("soon", status=status) if 0 < request.number < 12 else "ok")
    model = model_at(server, max_retries=2)
    assert [complete(model).text, complete(model).text] == ["ok", "ok"]
    assert len(server.requests) == 13


@pytest.mark.usefixtures("quick_retries")
def test_no_retries_means_none_even_if_the_server_is_not_available(serve: Serve) -> None:
    server = serve(ServerReply("soon", status=503))
    with pytest.raises(ModelError, match="Tried 1 time in"):
        complete(model_at(server, max_retries=0))
    assert len(server.requests) == 1


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "if it names a parameter, give that the value None in sampling."),
        (401, "api_key_env"),
        (403, "api_key_env"),
        (404, "base_url"),
        (422, "in sampling."),
    ],
)
def test_a_refusal_fails_at_once_with_the_remedy(serve: Serve, status: int, remedy: str) -> None:
    server = serve(ServerReply("I do not want to", status=status))
    with pytest.raises(ModelError, match=r"I do not want to") as raised:
        complete(model_at(server))
    assert remedy in str(raised.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("message", "parameter"),
    [
        ("OpenAIException - Unsupported value: 'top_p' does not support 0.5 with this model.", "top_p"),
        ('litellm: use "temperature" or "top_p", not both, with model "m"', "top_p"),
        ("the field `max_tokens` is not permitted", "max_tokens"),
    ],
)
def test_a_refusal_that_only_quotes_a_parameter_names_it_in_the_remedy(
    serve: Serve, message: str, parameter: str
) -> None:
    server = serve(ServerReply(message, status=400))
    with pytest.raises(ModelError) as raised:
        complete(model_at(server, sampling={"top_p": 0.5}))
    assert f"remove refused parameters with sampling={{'{parameter}': None}}." in str(raised.value)


@pytest.mark.parametrize("message", ["no model 'm', only 'max_tokens_of_all'", "'model' and 'messages' are wrong"])
def test_words_in_quotes_that_sampling_cannot_leave_out_are_no_parameter(serve: Serve, message: str) -> None:
    with pytest.raises(ModelError, match="if it names a parameter"):
        complete(model_at(serve(ServerReply(message, status=400))))


def test_a_key_is_not_repeated_in_an_error(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with pytest.raises(ModelError) as raised:
        complete(model_at(serve(ServerReply("no", status=401)), api_key_env="MY_KEY"))
    assert "sk-secret" not in str(raised.value)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens, however you requested 5000.",
        "context_length_exceeded",
        "the request exceeds the available context size",
        "prompt is too long: 5000 tokens",
    ],
)
def test_a_conversation_that_is_too_long_is_an_overflow(serve: Serve, message: str) -> None:
    server = serve(ServerReply(message, status=400))
    with pytest.raises(ContextOverflowError, match=r"The conversation is too long for model 'm'"):
        complete(model_at(server))
    assert len(server.requests) == 1


@pytest.mark.usefixtures("quick_retries")
def test_an_address_without_a_server_is_named_in_the_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelError, match=r"Nothing answers there: start the server, or correct base_url"):
        complete(OpenAIChatModel("m", base_url=f"http://127.0.0.1:{port}/v1", max_retries=1))


@pytest.mark.timeout(20)
def test_a_silent_server_times_out(serve: Serve) -> None:
    server = serve(ServerReply(delay_s=math.inf))
    with pytest.raises(ModelError, match=r"did not answer within 0.05 s: check the server, or raise timeout_s"):
        complete(model_at(server, timeout_s=0.05, max_retries=0))


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    "raw",
    [
        completion_body(choices=[]),
        completion_body(choices=None),
        completion_body(choices=[{"index": 0, "finish_reason": "stop"}]),
        completion_body(choices=[{}]),
        completion_body(choices="none"),
        completion_body(choices=[{"message": {"content": [{"text": "a part"}]}}]),
        completion_body(choices=[{"message": "ok"}]),
        "{}",
        "null",
        "[]",
        '"text"',
        "<html>It works!</html>",
        '{"choices": [',
        "",
    ],
)
def test_an_answer_that_is_not_a_completion_is_a_model_error(serve: Serve, raw: str) -> None:
    with pytest.raises(ModelError, match=r"[Ee]xpected a"):
        complete(model_at(serve(ServerReply(raw=raw)), max_retries=1))


def test_a_wrong_key_stops_the_run_at_once(serve: Serve) -> None:
    server = serve(ServerReply("Incorrect API key provided", status=401))
    with pytest.raises(ModelUnavailableError, match="Check the key: set OPENAI_API_KEY"):
        complete(model_at(server))
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [401, "401"])
def test_a_wrong_key_under_a_status_of_success_stops_the_run_at_once(serve: Serve, code: int | str) -> None:
    server = serve(ServerReply(raw=json.dumps({"error": {"message": "No auth credentials found", "code": code}})))
    with pytest.raises(ModelUnavailableError, match="HTTP 401: No auth"):
        complete(model_at(server))
    assert len(server.requests) == 1


def test_a_429_for_missing_credit_is_not_retried(serve: Serve) -> None:
    server = serve(ServerReply("You exceeded your quota", status=429, error={"code": "insufficient_quota"}))
    with pytest.raises(ModelUnavailableError, match="no credit left"):
        complete(model_at(server))
    assert len(server.requests) == 1


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (ServerReply(cut=True), "cut"),
        (ServerReply("long enough to cut", cut_after=5), "cut"),
        (ServerReply(raw="{"), "broken"),
    ],
    ids=["cut", "cut in the body", "truncated"],
)
def test_a_reply_lost_on_the_way_is_of_unknown_cost(serve: Serve, reply: ServerReply, kind: str) -> None:
    model = model_at(serve(Then(reply, "ok")))
    assert complete(model).text == "ok"
    [lost] = model.ledger.unknown
    assert lost.reason.startswith(kind)
    assert lost.max_tokens > 500  # the prompt and the limit of the reply
    spent = model.ledger.spent()
    assert (spent.usage.num_calls, spent.num_unknown, spent.num_retries) == (1, 1, 1)


@pytest.mark.usefixtures("quick_retries")
def test_a_refused_attempt_costs_nothing(serve: Serve) -> None:
    model = model_at(serve(Then(ServerReply(status=500), "ok")))
    complete(model)
    spent = model.ledger.spent()
    assert (spent.num_refused, spent.num_unknown, spent.unknown_tokens) == (1, 0, 0)


BUSY = {"message": "Rate limit exceeded", "code": 429}


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    ("raw", "is_refused"),
    [
        (json.dumps({"error": BUSY}), True),
        (json.dumps({"choices": [], "error": BUSY}), True),
        (sse({"error": BUSY}), True),
        (json.dumps({"error": {**BUSY, "code": 502}}), False),
        (json.dumps({"error": "Rate limit exceeded"}), False),
        (json.dumps({"choices": [{"message": {"content": "Thou"}, "error": BUSY}]}), False),
        (sse(chunk("Thou"), {"error": BUSY}), False),
    ],
)
def test_a_refusal_under_a_status_of_success_costs_nothing_if_there_is_no_choice(
    serve: Serve, raw: str, is_refused: bool
) -> None:
    model = model_at(serve(Then(ServerReply(raw=raw), "ok")))
    assert complete(model).text == "ok"
    spent = model.ledger.spent()
    assert (spent.num_refused, spent.num_unknown) == ((1, 0) if is_refused else (0, 1))


def test_a_cancelled_call_is_of_unknown_cost(serve: Serve) -> None:
    model = model_at(serve(ServerReply(delay_s=math.inf)))

    async def main() -> None:
        try:
            async with asyncio.timeout(0.05):
                await model.complete([{"role": "user", "content": "hi"}], Call("actor"))
        finally:
            await model.aclose()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert model.ledger.spent().num_unknown == 1


def test_the_first_byte_has_a_time_limit_of_its_own(serve: Serve) -> None:
    model = model_at(
        serve(ServerReply(delay_s=math.inf)), max_retries=0, client=ClientConfig(first_byte_timeout_s=0.05)
    )
    with pytest.raises(ModelError, match="did not answer within"):
        complete(model)


def test_max_tokens_is_sent_under_the_name_that_the_server_wants(serve: Serve) -> None:
    def respond(request: Any) -> ServerReply:
        if "max_tokens" in request.body:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
            )
            return ServerReply(message, status=400, error={"param": "max_tokens", "code": "unsupported_parameter"})
        return ServerReply("ok")

    server = serve(respond)
    model = model_at(server, client=ClientConfig(first_pause_s=0.0))
    assert complete(model).text == "ok"
    assert complete(model).text == "ok"
    assert [("max_tokens" in r.body, r.body.get("max_completion_tokens")) for r in server.requests] == [
        (True, None),
        (False, 4_096),
        (False, 4_096),
    ]


def test_a_refused_parameter_is_named_in_the_remedy(serve: Serve) -> None:
    refusal = ServerReply("Unsupported value", status=400, error={"param": "temperature"})
    with pytest.raises(ModelError, match=r"sampling=\{'temperature': None\}"):
        complete(model_at(serve(refusal), sampling={"temperature": 0.5}))


def test_the_name_of_another_model_is_kept_and_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    model = model_at(serve(ServerReply("ok", model="another")))
    assert complete(model).model == "another"
    assert "Asked for model 'm', the server answers as 'another'." in caplog.text


def test_retry_after_pauses_every_other_call_to_the_server(serve: Serve) -> None:
    arrivals: list[float] = []

    def respond(request: Any) -> ServerReply:
        arrivals.append(time.monotonic())
        return ServerReply(status=429, headers={"retry-after-ms": "300"}) if request.number == 0 else ServerReply("ok")

    model = model_at(serve(respond), max_retries=0)

    async def main() -> None:
        try:
            with pytest.raises(ModelError, match="Lower the load"):
                await model.complete(MESSAGES, CALL)
            await model.complete(MESSAGES, CALL)  # another call, which never failed
        finally:
            await model.aclose()

    asyncio.run(main())
    first, second = arrivals
    assert second - first >= 0.29
