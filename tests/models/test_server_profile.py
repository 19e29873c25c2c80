"""What a server takes is found out by asking once: stop strings, the system role, turns of user and assistant."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from metagym import ChatActor, OpenAIChatModel
from metagym.errors import ModelError, UnknownNameError
from metagym.models import ClientConfig, make_model
from metagym.models.server_profile import in_turns
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from metagym.types import Action, Message, Observation
from tests.conftest import Serve, make_episode
from tests.models.calling import CALL, MESSAGES, complete, model_at

GOOD = "Thought: iron.\nAction: push"
INVENTED = f"{GOOD}\nObservation: the gate opens.\nThought: well.\nAction: wait"
STOPPING = CALL._replace(stop=("\nObservation:",))


def stops_of(server: FakeOpenAIServer) -> list[Any]:
    return [request.body.get("stop") for request in server.requests]


def until_stop(request: ServerRequest) -> ServerReply:
    """Reply as a server that looks for the stop strings in the reply."""
    ends = [INVENTED.find(stop) for stop in request.body.get("stop") or ()]
    return ServerReply(INVENTED[: min(ends)] if ends else INVENTED)


# Stop strings --------------------------------------------------------------------------------------------


def test_the_wish_of_the_caller_is_sent_as_stop_strings(serve: Serve) -> None:
    server = serve(until_stop)
    assert complete(model_at(server), call=STOPPING).text == GOOD
    assert stops_of(server) == [["\nObservation:"]]
    assert server.delivered[0].completion_tokens == len(GOOD.split())


@pytest.mark.parametrize("own", [["\n\n"], "END", None])
def test_stop_strings_in_sampling_override_the_wish(serve: Serve, own: Any) -> None:
    server = serve(INVENTED)
    model = model_at(server, sampling={"stop": own})
    assert complete(model, call=STOPPING).text == INVENTED
    assert stops_of(server) == [own]
    assert model.fingerprint["sampling"]["stop"] == own


def test_a_call_without_the_wish_sends_no_stop_strings(serve: Serve) -> None:
    server = serve(INVENTED)
    assert complete(model_at(server)).text == INVENTED
    assert "stop" not in server.requests[0].body


def test_a_server_that_ignores_stop_strings_gives_the_same_reply(serve: Serve) -> None:
    cut = serve(lambda request: ServerReply(INVENTED, finish_reason="length"))
    completion = complete(model_at(cut), call=STOPPING)
    assert (completion.text, completion.finish_reason) == (GOOD, "stop")


@pytest.mark.parametrize(
    "refusal",
    [
        ServerReply("Unsupported parameter: 'stop' is not supported with this model.", status=400),
        ServerReply("Unsupported value", status=400, error={"param": "stop"}),
        ServerReply("the model does not support the stopSequences parameter. Remove it", status=400),
        ServerReply(raw='{"detail": [{"loc": ["body", "stop"], "msg": "Extra inputs are not permitted"}]}', status=422),
    ],
    ids=["OpenAI", "by its name alone", "Vertex", "FastAPI"],
)
def test_a_server_that_refuses_stop_strings_is_asked_once(serve: Serve, refusal: ServerReply) -> None:
    server = serve(lambda request: refusal if "stop" in request.body else ServerReply(INVENTED))
    model = model_at(server, max_retries=0)
    assert [complete(model, call=STOPPING).text for _ in range(3)] == [GOOD] * 3
    assert stops_of(server) == [["\nObservation:"], None, None, None]
    assert model.ledger.spent().num_refused == 1


def test_the_users_own_stop_strings_are_never_dropped(serve: Serve) -> None:
    server = serve(ServerReply("'stop' is not supported", status=400))
    with pytest.raises(ModelError, match="'stop' is not supported"):
        complete(model_at(server, sampling={"stop": ["x"]}), call=STOPPING)
    assert len(server.requests) == 1


@pytest.mark.parametrize("in_content", [True, False])
def test_a_reply_stopped_within_its_reasoning_is_asked_again_without_stop_strings(
    serve: Serve, in_content: bool
) -> None:
    def respond(request: ServerRequest) -> ServerReply:
        if "stop" in request.body:
            return ServerReply("<think>What do I see?" if in_content else "", reasoning="" if in_content else "Hm.")
        return ServerReply(INVENTED, reasoning="What do I see?\nObservation: a gate.")

    server = serve(respond)
    model = model_at(server, max_retries=0)
    assert [complete(model, call=STOPPING).text for _ in range(2)] == [GOOD] * 2
    assert stops_of(server) == [["\nObservation:"], None, None]
    assert model.ledger.spent().usage.num_calls == 3  # the stopped one was paid, too


def test_a_model_that_thinks_is_asked_without_stop_strings(serve: Serve) -> None:
    server = serve(lambda request: ServerReply(GOOD, reasoning="Iron?"))
    model = model_at(server)
    assert [complete(model, call=STOPPING).text for _ in range(2)] == [GOOD] * 2
    assert stops_of(server) == [["\nObservation:"], None]


def test_an_actor_reads_one_action_though_the_model_invents_the_next_turn(serve: Serve) -> None:
    server = serve(until_stop)
    actor = ChatActor(model_at(server))

    async def main() -> Action:
        try:
            return await actor.act(make_episode(), (), Observation(text="A gate."))
        finally:
            await actor.aclose()

    action = asyncio.run(main())
    assert (action.text, action.problem) == ("push", "")
    assert stops_of(server) == [["\nObservation:"]]


# The system role, and turns ------------------------------------------------------------------------------


def roles_of(server: FakeOpenAIServer) -> list[list[str]]:
    return [[message["role"] for message in request.messages] for request in server.requests]


@pytest.mark.parametrize(
    "words",
    [
        "System role not supported",
        "Only user and assistant roles are supported!",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "This model does not support the system role",
    ],
)
def test_a_template_without_a_system_role_is_asked_once(serve: Serve, words: str) -> None:
    def respond(request: ServerRequest) -> ServerReply:
        return ServerReply(words, status=400) if request.messages[0]["role"] == "system" else ServerReply(GOOD)

    server = serve(respond)
    model = model_at(server, max_retries=0)

    async def main() -> None:
        try:
            await asyncio.gather(*(model.complete(MESSAGES, CALL) for _ in range(8)))
            await model.complete(MESSAGES, CALL)
        finally:
            await model.aclose()

    asyncio.run(main())
    assert roles_of(server)[-1] == ["user"]
    assert server.requests[-1].messages[0]["content"] == "Be brave.\n\nA door."
    assert len(server.delivered) == 9


def test_the_role_of_the_prompt_can_be_chosen(serve: Serve) -> None:
    server = serve(GOOD)
    for role in ("auto", "system", "user"):
        complete(make_model({"model": "m", "base_url": server.base_url, "system_role": role}))
    assert roles_of(server) == [["system", "user"], ["system", "user"], ["user"]]


def test_a_chosen_system_role_is_never_given_up(serve: Serve) -> None:
    server = serve(ServerReply("System role not supported", status=400))
    with pytest.raises(ModelError, match="System role not supported"):
        complete(model_at(server, system_role="system"))
    assert len(server.requests) == 1


def test_a_chosen_role_is_in_the_fingerprint() -> None:
    models = [OpenAIChatModel("m", base_url="http://x/v1", system_role=role) for role in ("auto", "system", "user")]
    assert [model.fingerprint.get("system_role") for model in models] == [None, "system", "user"]


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown system_role 'usr': expected one of .* Did you mean 'user'"):
        OpenAIChatModel("m", base_url="http://x/v1", system_role="usr")  # type: ignore[arg-type]


def said(*turns: tuple[str, str]) -> list[Message]:
    return [{"role": role, "content": content} for role, content in turns]  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("messages", "system_role", "expected"),
    [
        ([("system", "p"), ("user", "a")], True, [("system", "p"), ("user", "a")]),
        ([("system", "p"), ("user", "a"), ("user", "b")], True, [("system", "p"), ("user", "a\n\nb")]),
        ([("user", "a"), ("assistant", "b"), ("assistant", "c")], True, [("user", "a"), ("assistant", "b\n\nc")]),
        ([("system", "p"), ("user", "a"), ("assistant", "b")], False, [("user", "p\n\na"), ("assistant", "b")]),
        ([("system", "p"), ("system", "q"), ("user", "a")], False, [("user", "p\n\nq\n\na")]),
        ([("system", "p")], False, [("user", "p")]),
        ([], True, []),
    ],
)
def test_neighbours_of_one_role_are_one_message(messages: Any, system_role: bool, expected: Any) -> None:
    given = said(*messages)
    assert in_turns(given, system_role=system_role) == said(*expected)
    assert given == said(*messages)


def test_a_refused_name_of_the_token_limit_is_learned_by_calls_at_the_same_time(serve: Serve) -> None:
    def respond(request: ServerRequest) -> ServerReply:
        if "max_tokens" in request.body:
            return ServerReply("Use 'max_completion_tokens' instead.", status=400, error={"param": "max_tokens"})
        return ServerReply(GOOD)

    server = serve(respond)
    model = model_at(server, client=ClientConfig(first_pause_s=0.0), max_retries=0)

    async def main() -> list[str]:
        try:
            return [reply.text for reply in await asyncio.gather(*(model.complete(MESSAGES, CALL) for _ in range(8)))]
        finally:
            await model.aclose()

    assert asyncio.run(main()) == [GOOD] * 8
