"""Replies are streamed if the server can: a limit of silence, exact books, and servers that stream badly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from metagym import OpenAIChatModel
from metagym.errors import ModelError
from metagym.models import ClientConfig
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from tests.conftest import Serve
from tests.models.calling import (
    CALL,
    MESSAGES,
    STREAM,
    USAGE,
    Then,
    chunk,
    complete,
    completion_body,
    model_at,
    sse,
)

GOOD = "Thought: iron.\nAction: push"
QUICK = ClientConfig(first_pause_s=0.0)


def asked_for_streams(server: FakeOpenAIServer) -> list[bool]:
    return ["stream" in request.body for request in server.requests]


def refusing(refused: str, reply: ServerReply) -> Callable[[ServerRequest], ServerReply]:
    return lambda request: reply if refused in request.body else ServerReply(GOOD)


# The limit of silence ------------------------------------------------------------------------------------


def test_a_reply_is_streamed_and_counted(serve: Serve) -> None:
    server = serve(ServerReply(GOOD, reasoning="Iron or oak?"))
    model = model_at(server)
    completion = complete(model)
    assert STREAM.items() <= server.requests[0].body.items()
    assert (completion.text, completion.reasoning, completion.finish_reason) == (GOOD, "Iron or oak?", "stop")
    assert completion.usage.model_copy(update={"num_calls": 0}) == server.delivered[0]
    assert model.ledger.spent().num_unknown == 0


@pytest.mark.timeout(20)
def test_a_reply_may_take_longer_than_the_limit_of_silence(serve: Serve) -> None:
    reply = ServerReply("w " * 20, chunk_delay_s=0.03)
    assert complete(model_at(serve(reply), timeout_s=0.4, max_retries=0)).text == reply.text


@pytest.mark.timeout(20)
def test_comments_that_keep_a_connection_open_are_no_silence(serve: Serve) -> None:
    server = serve(ServerReply(GOOD, num_comments=2, chunk_delay_s=0.02))
    assert complete(model_at(server, timeout_s=0.4, max_retries=0)).text == GOOD


@pytest.mark.timeout(20)
def test_silence_within_a_reply_is_a_time_out_of_unknown_cost(serve: Serve) -> None:
    model = model_at(serve(ServerReply(GOOD, silent_after=3)), timeout_s=0.1, max_retries=0)
    with pytest.raises(ModelError, match=r"It sent nothing for 0.1 s within a reply: check the server, or raise timeo"):
        complete(model)
    spent = model.ledger.spent()
    assert (spent.num_unknown, spent.usage.num_calls) == (1, 0)
    assert spent.unknown_tokens > 500


@pytest.mark.timeout(20)
def test_the_first_byte_of_a_stream_has_a_limit_of_its_own(serve: Serve) -> None:
    reply = ServerReply(GOOD, chunk_delay_s=0.3)  # the head of the answer comes at once
    client = ClientConfig(first_byte_timeout_s=0.05)
    with pytest.raises(ModelError, match=r"It did not answer within 0.05 s"):
        complete(model_at(serve(reply), max_retries=0, client=client))
    patient = ClientConfig(first_byte_timeout_s=10)
    with pytest.raises(ModelError, match=r"It sent nothing for 0.1 s within a reply"):
        complete(model_at(serve(reply), timeout_s=0.1, max_retries=0, client=patient))


@pytest.mark.timeout(20)
def test_a_stream_that_never_ends_is_cut_off(serve: Serve) -> None:
    client = ClientConfig(reply_timeout_s=0.3)
    model = model_at(serve(ServerReply("w " * 500, chunk_delay_s=0.02)), max_retries=0, client=client)
    with pytest.raises(ModelError, match=r"The reply took longer than 0.3 s: lower max_tokens, or raise client.reply"):
        complete(model)


@pytest.mark.timeout(20)
def test_a_connection_that_stays_open_after_the_end_does_not_lose_the_reply(serve: Serve) -> None:
    num_chunks = 1 + len(GOOD.split()) + 2  # the role, the words, the end, the usage; only `[DONE]` is missing
    model = model_at(serve(ServerReply(GOOD, silent_after=num_chunks)), timeout_s=0.2, max_retries=0)
    assert complete(model).text == GOOD
    assert model.ledger.spent().usage.completion_tokens == 4


@pytest.mark.parametrize("cut_after", [0, 1, 100, 180, 300, 700])
def test_a_stream_cut_in_the_middle_is_of_unknown_cost_and_retried(serve: Serve, cut_after: int) -> None:
    server = serve(Then(ServerReply(GOOD, cut_after=cut_after), ServerReply(GOOD)))
    model = model_at(server, client=QUICK)
    assert complete(model).text == GOOD
    [lost] = model.ledger.unknown
    assert lost.max_tokens > 500
    assert (len(server.requests), len(server.delivered)) == (2, 1)


def test_a_stream_that_ends_without_its_end_was_cut_by_a_proxy(serve: Serve) -> None:
    model = model_at(serve(Then(ServerReply(raw=sse(chunk("Thou"), done=False)), "ok")), client=QUICK)
    assert complete(model).text == "ok"
    assert model.ledger.unknown[0].reason == "cut stream: a stream without an end (1 chunks)"


def test_a_server_whose_first_stream_is_cut_is_asked_for_streams_again(serve: Serve) -> None:
    server = serve(Then(ServerReply(raw=sse(chunk("Thou"), done=False)), "ok", "ok"))
    model = model_at(server, client=QUICK)
    assert [complete(model).text for _ in range(2)] == ["ok", "ok"]
    assert asked_for_streams(server) == [True] * 3


def test_a_server_whose_streams_have_no_end_is_asked_without(serve: Serve) -> None:
    server = serve(refusing("stream", ServerReply(raw=sse(chunk("Thou"), done=False))))
    model = model_at(server, client=QUICK)
    assert [complete(model).text for _ in range(2)] == [GOOD, GOOD]
    assert asked_for_streams(server) == [True, True, False, False]


# Servers that stream badly or not at all -----------------------------------------------------------------

REFUSALS = {
    "OpenAI, o1": ServerReply(
        "Unsupported value: 'stream' does not support true with this model.", status=400, error={"param": "stream"}
    ),
    "OpenAI, organisation": ServerReply(
        "Your organization must be verified to stream this model.", status=400, error={"param": "stream"}
    ),
    "Mistral": ServerReply(
        raw='{"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not '
        'permitted"}]}',
        status=422,
    ),
    "Azure": ServerReply(raw='{"detail": "Extra parameters [\'stream_options\'] are not allowed"}', status=400),
    "Fireworks": ServerReply("Extra inputs are not permitted, field: 'stream_options'", status=400),
    "a gateway": ServerReply("Unknown parameter: 'stream_options'.", status=400, error={"code": "unknown_parameter"}),
    "not implemented": ServerReply("Streaming is not implemented", status=501),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("max_retries", [0, 8])
def test_a_server_that_refuses_streams_is_asked_once(serve: Serve, refusal: ServerReply, max_retries: int) -> None:
    server = serve(refusing("stream", refusal))
    model = model_at(server, max_retries=max_retries)
    assert [complete(model).text for _ in range(3)] == [GOOD] * 3
    assert asked_for_streams(server) == [True, False, False, False]
    spent = model.ledger.spent()
    assert (spent.num_refused, spent.num_unknown, spent.usage.num_calls) == (1, 0, 3)


def test_calls_that_are_refused_at_once_all_learn_it(serve: Serve) -> None:
    server = serve(refusing("stream", REFUSALS["OpenAI, o1"]))
    model = model_at(server, max_retries=0)

    async def main() -> list[str]:
        try:
            return [reply.text for reply in await asyncio.gather(*(model.complete(MESSAGES, CALL) for _ in range(20)))]
        finally:
            await model.aclose()

    assert asyncio.run(main()) == [GOOD] * 20
    assert asked_for_streams(server).count(False) == 20


def test_a_server_that_ignores_the_wish_is_asked_once(serve: Serve) -> None:
    server = serve(ServerReply(GOOD, streams=False))
    model = model_at(server)
    assert [complete(model).text for _ in range(3)] == [GOOD] * 3
    assert asked_for_streams(server) == [True, False, False]
    spent = model.ledger.spent()
    assert (spent.usage.num_calls, spent.num_unknown) == (3, 0)


def test_a_server_that_does_not_count_its_streams_is_asked_once(serve: Serve) -> None:
    def respond(request: ServerRequest) -> ServerReply:
        return ServerReply(GOOD, says_usage="stream" not in request.body)

    server = serve(respond)
    model = model_at(server)
    assert [complete(model).text for _ in range(3)] == [GOOD] * 3
    assert asked_for_streams(server) == [True, False, False]
    spent = model.ledger.spent()
    assert (spent.usage.num_calls, spent.num_unknown, spent.num_retries) == (2, 1, 0)
    assert spent.unknown_tokens > 500


def test_a_server_that_streams_is_not_given_up_for_one_bad_stream(serve: Serve) -> None:
    bad = ServerReply(GOOD, says_usage=False)
    server = serve(Then("ok", bad, ServerReply(GOOD, streams=False), ServerReply(raw="data: {"), "ok"))
    model = model_at(server, client=QUICK)
    for _ in range(4):
        complete(model)
    assert asked_for_streams(server) == [True] * 5


def test_a_server_whose_streams_cannot_be_read_is_asked_without(serve: Serve) -> None:
    server = serve(refusing("stream", ServerReply(raw="<html>upgrade required</html>")))
    model = model_at(server, max_retries=0)
    assert complete(model).text == GOOD
    assert asked_for_streams(server) == [True, False]
    assert model.ledger.spent().num_unknown == 1


def test_a_server_that_only_streams_is_asked_for_streams(serve: Serve) -> None:
    refusal = ServerReply("This model only support stream mode, please enable the stream parameter", status=400)

    def respond(request: ServerRequest) -> ServerReply:
        if request.number == 0:
            return ServerReply(GOOD, says_usage=False)
        return ServerReply(GOOD) if "stream" in request.body else refusal

    server = serve(respond)
    model = model_at(server, max_retries=0)
    assert [complete(model).text for _ in range(3)] == [GOOD] * 3
    assert asked_for_streams(server) == [True, False, True, True]


def test_streams_can_be_switched_off(serve: Serve) -> None:
    server = serve(GOOD)
    complete(model_at(server, client=ClientConfig(stream=False)))
    assert asked_for_streams(server) == [False]


@pytest.mark.parametrize(
    "refusal",
    [
        ServerReply("temperature must be 1", status=400, error={"param": "temperature"}),
        ServerReply("the upstream provider refused", status=403),
        ServerReply("prompt is too long to stream: 9 tokens > 8 maximum", status=400),
        ServerReply("the stream was flagged", status=400, error={"code": "content_filter"}),
    ],
    ids=lambda reply: reply.text,
)
def test_a_refusal_that_is_not_for_the_stream_is_final(serve: Serve, refusal: ServerReply) -> None:
    server = serve(refusal)
    with pytest.raises(ModelError, match=refusal.text):
        complete(model_at(server))
    assert len(server.requests) == 1


def scored(request: ServerRequest) -> ServerReply:
    ids, logprobs = [3, 4], {"content": [{"token": "o", "logprob": -0.5}, {"token": "k", "logprob": -1}]}
    choice = {"index": 0, "message": {"content": "ok"}, "finish_reason": "stop"}
    return ServerReply(raw=completion_body(choices=[{**choice, "token_ids": ids, "logprobs": logprobs}], usage=USAGE))


def test_token_ids_and_log_probabilities_are_read_from_a_stream(serve: Serve) -> None:
    parts = [
        chunk("o", token_ids=[3], logprobs={"content": [{"token": "o", "logprob": -0.5}]}),
        chunk("k", "stop", token_ids=[4], logprobs={"content": [{"token": "k", "logprob": -1}]}),
    ]
    server = serve(ServerReply(raw=sse(*parts, {"choices": [], "usage": USAGE})))
    completion = complete(model_at(server, sampling={"logprobs": True, "return_token_ids": True}))
    assert (completion.text, completion.token_ids, completion.logprobs) == ("ok", (3, 4), (-0.5, -1.0))
    assert len(server.requests) == 1


@pytest.mark.parametrize("wish", ["logprobs", "return_token_ids"])
def test_a_stream_without_the_wished_log_probabilities_is_asked_again_in_one_piece(serve: Serve, wish: str) -> None:
    server = serve(lambda request: ServerReply("ok") if "stream" in request.body else scored(request))
    model = model_at(server, sampling={wish: True}, max_retries=0)
    assert [complete(model).logprobs for _ in range(2)] == [(-0.5, -1.0)] * 2
    assert asked_for_streams(server) == [True, False, False]
    assert model.ledger.spent().usage.num_calls == 3


def test_errors_in_a_stream_are_retried_and_of_unknown_cost(serve: Serve) -> None:
    for error in ({"stream_error": {"message": "died"}}, {"choice_error": {"message": "died", "code": 502}}):
        server = serve(Then(ServerReply(GOOD, **error), ServerReply(GOOD)))
        model = model_at(server, client=QUICK)
        assert complete(model).text == GOOD
        assert "died" in model.ledger.unknown[0].reason
        assert len(server.requests) == 2


def test_a_model_without_streams_has_the_same_fingerprint() -> None:
    url = "http://x/v1"
    models = [OpenAIChatModel("m", base_url=url, client=ClientConfig(stream=stream)) for stream in (True, False)]
    assert models[0].fingerprint == models[1].fingerprint
