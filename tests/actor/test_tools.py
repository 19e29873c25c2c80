"""ToolActor: native calls, several in a reply, results matched by id, and servers that take no tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import metagym
from metagym.actor import ChatActor, ToolActor, turns_of
from metagym.errors import ConfigError, EpisodesFailedError
from metagym.models import Cassette
from metagym.models.asking import conversation_of, max_tokens
from metagym.models.constraint import JSON_MEANS
from metagym.testing import FAULTS, FakeChatModel, FakeOpenAIServer, ServerReply, ServerRequest, misbehave
from metagym.types import Completion, Message, Trajectory
from tests.adapter.scales import Scales, ScalesMetaEnv
from tests.conftest import make_step

Respond = Callable[[ServerRequest], str | ServerReply]


def call(name: str, number: int = 0, /, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"id-{name}-{number}", "type": "function", "function": function}


BOTH = ServerReply("First both.", tool_calls=[call("weigh", 1, parcel="a"), call("weigh", 2, parcel="b")])
OPEN = ServerReply(tool_calls=[call("open_gate_7")], finish_reason="tool_calls")


def scripted(*replies: str | ServerReply, probe: str | ServerReply = OPEN) -> Respond:
    """Answer the question for a call with `probe`, and the turns of an episode with the replies in order.

    A `probe` that is a refusal refuses the tools, and not the question without them.
    """

    def respond(request: ServerRequest) -> str | ServerReply:
        if "opens a gate" in request.messages[-1]["content"]:
            return "Which gate?" if isinstance(probe, ServerReply) and "tools" not in request.body else probe
        turn = sum(message["role"] == "assistant" for message in request.messages)
        return replies[min(turn, len(replies) - 1)]

    return respond


def play(respond: Respond, **options: Any) -> tuple[Trajectory, list[ServerRequest]]:
    """Play one episode of Scales by a model behind a server; return it with the requests of the episode."""
    with FakeOpenAIServer(respond) as server:
        actor = {"model": "m", "base_url": server.base_url, "client": {"first_pause_s": 0.001}, **options}
        with ScalesMetaEnv(actor, episodes_per_step=1, max_steps=8) as env:
            assert isinstance(env.actor, ToolActor)
            env.reset(seed=0)
            (trajectory,) = env.step("Weigh them.")[0]
        return trajectory, [item for item in server.requests if "opens a gate" not in item.messages[-1]["content"]]


def test_the_calls_of_one_reply_are_played_in_order_before_the_model_is_asked_again() -> None:
    trajectory, requests = play(scripted(BOTH, "a", "b"))
    assert [step.command for step in trajectory.steps] == [
        '{"name": "weigh", "arguments": {"parcel": "a"}}',
        '{"name": "weigh", "arguments": {"parcel": "b"}}',
        "a",
        "b",
    ]
    assert [step.action.completion is None for step in trajectory.steps] == [False, True, False, False]
    assert trajectory.steps[0].action.thought == "First both."
    assert len(requests) == trajectory.usage.num_calls == 3
    assert [len(turn.steps) for turn in turns_of(trajectory.steps)] == [2, 1, 1]


def test_the_tools_go_with_each_request_and_each_result_has_the_id_of_its_call() -> None:
    trajectory, requests = play(scripted(BOTH, "a", "b"))
    assert [item["function"]["name"] for item in requests[0].body["tools"]] == ["weigh", "drop"]
    assert "tool_choice" not in requests[0].body
    system, user, assistant, *results = requests[1].body["messages"]
    assert system == {"role": "system", "content": "Weigh them."}
    assert user == {"role": "user", "content": "Goal: Name the heavier parcel.\n\nTwo parcels of the kind x."}
    assert assistant == {"role": "assistant", "content": "First both.", "tool_calls": list(BOTH.tool_calls)}
    assert results == [
        {"role": "tool", "tool_call_id": "id-weigh-1", "content": trajectory.steps[1].observation.text},
        {"role": "tool", "tool_call_id": "id-weigh-2", "content": trajectory.steps[2].observation.text},
    ]
    assert requests[2].body["messages"][-2:] == [
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "And now?"},
    ]


def test_a_reply_of_calls_alone_has_no_text() -> None:
    trajectory, requests = play(scripted(BOTH._replace(text=""), "a", "b"))
    assert requests[1].body["messages"][2]["content"] is None
    assert trajectory.num_invalid == 0


def test_an_invalid_call_is_not_executed_and_its_result_says_why() -> None:
    wrong = [call("weigh"), call("weight", 1, parcel="a"), call("weigh", 2, parcel="a")]
    trajectory, requests = play(scripted(ServerReply(tool_calls=wrong), "a", "b"))
    assert [step.is_valid for step in trajectory.steps] == [False, False, True, True, True]
    results = requests[1].body["messages"][3:]
    assert [item["content"] for item in results[:2]] == [
        "Not executed: The arguments of 'weigh' are wrong: 'parcel' is missing.",
        "Not executed: There is no tool 'weight'. Did you mean 'weigh'? "
        "2 actions in a row were not executed. Choose another one.",
    ]
    assert results[2]["content"].startswith('{"name":"a"')


@pytest.mark.parametrize(
    ("reply", "feedback"),
    [
        (ServerReply(""), "Your reply was empty. Call a tool, or write your answer."),
        (BOTH._replace(finish_reason="length"), "Your reply was cut off before its end. Be brief."),
        (BOTH._replace(finish_reason="MALFORMED_CALL"), "The server ended your reply as 'MALFORMED_CALL'."),
        (BOTH._replace(finish_reason="content_filter"), "The server's content filter stopped your reply."),
    ],
)
def test_a_reply_that_cannot_be_read_is_answered_in_words(reply: ServerReply, feedback: str) -> None:
    trajectory, requests = play(scripted(reply, "a", "b"))
    assert trajectory.steps[0].command is None
    assert trajectory.num_invalid == 1
    assert requests[1].body["messages"][-1] == {"role": "user", "content": f"Not executed: {feedback}"}


def obeying(*replies: dict[str, Any]) -> Respond:
    """Hold each reply to the JSON schema of the request."""
    return scripted(*map(json.dumps, replies), probe=json.dumps({"answer": "It is shut."}))


def test_a_held_reply_is_one_call_or_an_answer() -> None:
    calls = ({"name": "weigh", "arguments": {"parcel": "a"}}, {"answer": "a"}, {"answer": "b"})
    trajectory, (first, second, third) = play(obeying(*calls), constrain="auto")
    assert [step.command for step in trajectory.steps] == [json.dumps(calls[0]), "a", "b"]
    assert {step.action.completion.constraint for step in trajectory.steps if step.action.completion} == {JSON_MEANS}
    schema = first.body["response_format"]["json_schema"]["schema"]
    weigh, drop, answer = schema["anyOf"]
    assert (weigh["required"], weigh["properties"]["name"]) == (["name", "arguments"], {"const": "weigh"})
    assert weigh["properties"]["arguments"] == {"$ref": "#/$defs/arguments-0"}
    assert schema["$defs"]["arguments-0"]["required"] == ["parcel"]
    assert (drop["properties"]["name"], answer["required"]) == ({"const": "drop"}, ["answer"])
    assert "tools" not in first.body
    assert "To answer, when nothing is left to call" in first.body["messages"][0]["content"]
    assert [second.body["messages"][2]["content"], third.body["messages"][4]["content"]] == [
        *map(json.dumps, calls[:2])
    ]


@pytest.mark.parametrize("refuses", [False, True])
def test_a_server_without_json_schemas_gets_the_tools_as_if_nothing_was_asked_for(refuses: bool) -> None:
    def respond(request: ServerRequest) -> str | ServerReply:
        if refuses and "response_format" in request.body:
            return ServerReply("schema must have type 'object'", status=400)
        return scripted(BOTH, "a", "b", probe="I see no gate." if "tools" not in request.body else OPEN)(request)

    free, held = (play(respond, **options) for options in ({}, {"constrain": "auto"}))
    assert [item.body for item in held[1]] == [item.body for item in free[1]]
    assert [step.command for step in held[0].steps] == [step.command for step in free[0].steps]


def test_two_constraints_are_one_too_many() -> None:
    with pytest.raises(EpisodesFailedError, match=r"sampling\['response_format'\] to another"):
        play(obeying(), constrain="auto", sampling={"response_format": {"type": "json_object"}})


@pytest.mark.parametrize(
    "probe",
    [
        "There is no such tool.",
        ServerReply('"auto" tool choice requires --enable-auto-tool-choice', status=400),
        ServerReply("tools param requires --jinja flag", status=501),
    ],
)
def test_a_server_that_takes_no_tools_gets_them_as_text(probe: str | ServerReply) -> None:
    text = 'Both.\n<tool_call>\n{"name": "weigh", "arguments": {"parcel": "a"}}\n</tool_call>'
    trajectory, requests = play(scripted(text, "a", "b", probe=probe))
    assert all("tools" not in item.body for item in requests)
    first, second = requests[0].body["messages"], requests[1].body["messages"]
    assert first[0]["content"].startswith("Weigh them.\n\nYou may call these tools")
    assert '{"name": "weigh", "description": "Weigh a parcel."' in first[0]["content"]
    assert second[2] == {"role": "assistant", "content": text}
    assert second[3] == {
        "role": "user",
        "content": f"<tool_response>\n{trajectory.steps[1].observation.text}\n</tool_response>",
    }
    assert [step.is_valid for step in trajectory.steps] == [True, True, True]


def test_a_server_whose_calls_come_as_text_is_still_sent_the_tools() -> None:
    probe = '<tool_call>{"name": "open_gate_7", "arguments": {}}</tool_call>'
    _, requests = play(scripted('<tool_call>{"name": "weigh", "arguments": {"parcel": "a"}}', "a", "b", probe=probe))
    assert "tools" in requests[0].body


def test_a_server_is_asked_once_how_it_takes_tools() -> None:
    asked = 0

    def respond(request: ServerRequest) -> str | ServerReply:
        nonlocal asked
        asked += "opens a gate" in request.messages[-1]["content"]
        return scripted(BOTH, "a", "b")(request)

    with FakeOpenAIServer(respond) as server:
        env = ScalesMetaEnv({"model": "m", "base_url": server.base_url}, episodes_per_step=5)
        env.reset(seed=0)
        env.step("Weigh them.")
        env.step("Weigh them.")
        env.close()
    assert asked == 1


def test_the_question_for_a_call_does_not_depend_on_which_episode_asks_first() -> None:
    seeds = []
    for first in (0, 1):
        with FakeOpenAIServer(scripted(BOTH, "a", "b")) as server:
            env = ScalesMetaEnv({"model": "m", "base_url": server.base_url}, episodes_per_step=1)
            env.reset(seed=first)
            env.step("Weigh them.")
            env.close()
            seeds.append([item.body["seed"] for item in server.requests[:2]])
    assert seeds[0][0] == seeds[1][0]
    assert seeds[0][1] != seeds[1][1]


THINKING = BOTH._replace(reasoning="They look alike. " * 400)


def test_reasoning_that_is_not_sent_takes_no_room_in_the_context() -> None:
    thinking = THINKING._replace(says_usage=False)
    _, requests = play(scripted(thinking, thinking, "b"), context_tokens=2_000, sampling={"max_tokens": 100})
    assert len(requests[2].body["messages"]) == 2 + 2 * 3


def test_reasoning_that_is_sent_back_takes_room_in_the_context() -> None:
    def strict(request: ServerRequest) -> str | ServerReply:
        turns = [item for item in request.messages if item["role"] == "assistant"]
        if any("reasoning_content" not in item for item in turns):
            return ServerReply("`reasoning_content` must be passed back to the API.", status=400)
        return scripted(*[THINKING._replace(says_usage=False)] * 3, "b")(request)

    _, requests = play(strict, context_tokens=2_000, sampling={"max_tokens": 100})
    assert "left out" in requests[-1].messages[1]["content"]


def test_a_budget_reserves_no_reasoning_that_is_not_sent() -> None:
    with FakeOpenAIServer(scripted(*[THINKING] * 2, "b")) as server:
        actor = {"model": "m", "base_url": server.base_url, "sampling": {"max_tokens": 100}}
        with ScalesMetaEnv(actor, episodes_per_step=1, max_steps=8, budget={"tokens": 16_000}) as env:
            env.reset(seed=0)
            assert env.step("Weigh them.")[0][0].score is not None


def test_reasoning_is_handed_back_only_to_a_server_that_wants_it() -> None:
    thinking = BOTH._replace(reasoning="They look alike.")
    _, requests = play(scripted(thinking, "a", "b"))
    assert all("reasoning_content" not in item for item in requests[1].body["messages"])

    def strict(request: ServerRequest) -> str | ServerReply:
        turns = [item for item in request.messages if item["role"] == "assistant"]
        if any("reasoning_content" not in item for item in turns):
            text = "The `reasoning_content` in the thinking mode must be passed back to the API."
            return ServerReply(text, status=400)
        return scripted(thinking, "a", "b")(request)

    trajectory, requests = play(strict)
    assert requests[-1].body["messages"][2]["reasoning_content"] == "They look alike."
    assert requests[-1].body["messages"][-2]["reasoning_content"] == ""
    assert trajectory.num_invalid == 0


def test_a_calls_further_fields_go_back_to_the_server() -> None:
    signed = {**call("weigh", parcel="a"), "extra_content": {"google": {"thought_signature": "s"}}}
    _, requests = play(scripted(ServerReply(tool_calls=[signed]), "a", "b"))
    assert requests[1].body["messages"][2]["tool_calls"] == [signed]


def test_your_own_chat_model_gets_the_tools_as_text() -> None:
    model = FakeChatModel(['<tool_call>{"name": "weigh", "arguments": {"parcel": "a"}}</tool_call>', "a", "b"])
    with ScalesMetaEnv(ToolActor(model), episodes_per_step=1) as env:
        env.reset(seed=0)
        (trajectory,) = env.step("Weigh them.")[0]
    assert "You may call these tools" in model.calls[0][0][0]["content"]
    assert (trajectory.num_invalid, trajectory.scripted) == (0, True)


def test_a_cassette_replays_an_episode_with_calls(tmp_path: Any) -> None:
    path, results = tmp_path / "replies.sqlite", []
    with FakeOpenAIServer(scripted(BOTH, "a", "b", probe="none")) as server:
        for mode in ("record", "replay"):
            cassette = Cassette(path, mode=mode)  # type: ignore[arg-type]
            actor = {"model": "m", "base_url": server.base_url}
            with ScalesMetaEnv(actor, episodes_per_step=1) as env, cassette.open():
                env.reset(seed=0)
                results.append(env.step("Weigh them.")[0])
            cassette.close()
        assert len(server.requests) == 4  # the question, and three turns
    assert results[0] == results[1]


def test_the_oldest_turns_are_left_out_with_their_results() -> None:
    replies = [ServerReply(tool_calls=[call("weigh", n, parcel="a" * 200)], says_usage=False) for n in range(5)]
    _, requests = play(scripted(*replies, "b"), context_tokens=900, sampling={"max_tokens": 100})
    messages = requests[5].body["messages"]
    assert messages[1]["content"].endswith("turns are left out here.]")
    assert [item["role"] for item in messages[:4]] == ["system", "user", "assistant", "tool"]
    assert messages[2]["tool_calls"][0]["id"] == messages[3]["tool_call_id"]
    assert len(messages) < 12


@pytest.mark.parametrize(("history_steps", "num_left_out"), [(None, 0), (4, 0), (3, 1), (2, 2), (0, 2)])
def test_only_the_turns_of_the_last_steps_are_sent(history_steps: int | None, num_left_out: int) -> None:
    replies = iter([OPEN, BOTH, "a weighs more?", BOTH._replace(text="Once more."), "b"])
    _, requests = play(lambda request: next(replies), history_steps=history_steps)
    messages = requests[3].body["messages"]
    assert len(messages) == 2 + sum((3, 2, 3)[num_left_out:])
    assert messages[1]["content"].endswith("turns are left out here.]" if num_left_out else "of the kind x.")
    assert messages[-3]["content"] == "Once more."
    assert [item["role"] for item in messages[-2:]] == ["tool", "tool"]


def test_a_budget_reserves_the_tools_and_the_calls_of_the_history() -> None:
    messages: list[Message] = [{"role": "user", "content": "Weigh them."}]
    called: list[Message] = [{"role": "assistant", "content": "", "tool_calls": [call("weigh", parcel="a")]}]
    tools = Scales().reset(seed=0)[1]["tools"]
    with_tools = max_tokens(conversation_of({"messages": messages, "tools": tools}))
    assert with_tools > max_tokens(messages) + len(json.dumps(tools))
    assert max_tokens(called) > len(json.dumps(called))


def test_act_says_how_a_model_acts() -> None:
    at: dict[str, Any] = {"model": "m", "base_url": "http://127.0.0.1:1/v1"}
    assert isinstance(ScalesMetaEnv(at).actor, ToolActor)
    assert isinstance(ScalesMetaEnv({**at, "act": "tools", "context_tokens": 9}).actor, ToolActor)
    assert isinstance(metagym.make("MetaGym/Gates-v0", actor=at).unwrapped.actor, ChatActor)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="Unknown act 'tolls'"):
        ScalesMetaEnv({**at, "act": "tolls"})
    with pytest.raises(ConfigError, match="'reply_format' is for an actor that writes its actions as text"):
        ScalesMetaEnv({**at, "reply_format": "act"})


def test_an_actor_that_does_not_fit_the_environment_is_named() -> None:
    at: dict[str, Any] = {"model": "m", "base_url": "http://127.0.0.1:1/v1"}
    with ScalesMetaEnv({**at, "act": "text"}, episodes_per_step=1) as env:
        env.reset(seed=0)
        with pytest.raises((ConfigError, EpisodesFailedError), match="ChatActor shows no tools to its model"):
            env.step("Weigh them.")
    with metagym.make("MetaGym/Gates-v0", actor={**at, "act": "tools"}) as gates:
        gates.reset(seed=0)
        with pytest.raises((ConfigError, EpisodesFailedError), match="ToolActor needs an environment that offers"):
            gates.step("Go.")


def test_records_of_before_are_still_read() -> None:
    """A step of an earlier version has no tools, and its completion no calls."""
    step = make_step("You see a door.", "open").model_dump(mode="json")
    del step["observation"]["tools"]
    assert metagym.types.Step.model_validate(step).observation.tools is None
    assert turns_of([metagym.types.Step.model_validate(step)])[0].calls == ()


def test_two_calls_with_one_id_or_none_get_ids_of_their_own() -> None:
    from metagym.actor import read_calls

    texts = [json.dumps({**call("weigh", parcel="a"), "id": name}) for name in ("x", "x", "")]
    _, calls = read_calls(Completion(text="", tool_calls=tuple(texts)))
    assert [item.id for item in calls] == ["x", "call00001", "call00002"]


FAULTY = {
    "half a call": ["no JSON", "no JSON"],
    "unknown tool": ["There is no tool 'weigh_v2'. Did you mean 'weigh'?"] * 2,
    "calls with one id": ["", ""],
    "calls and text": ["", ""],
    "arguments as an object": ["", ""],
    "call in the text": ["", ""],
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", FAULTY)
def test_a_server_that_misbehaves_with_calls_gives_data_or_is_understood(fault: str, stream: bool) -> None:
    respond = misbehave(scripted(BOTH._replace(streams=stream), "a", "b"), {fault: 1.0})
    trajectory, requests = play(respond)
    feedbacks = [step.observation.feedback for step in trajectory.steps[1:3]]
    for feedback, expected in zip(feedbacks, FAULTY[fault], strict=True):
        assert expected in feedback
        assert bool(expected) == bool(feedback)
    assert [step.is_valid for step in trajectory.steps] == [*(not text for text in FAULTY[fault]), True, True]
    sent = requests[1].body["messages"]
    calls = sent[2]["tool_calls"]
    assert [json.loads(item["function"]["arguments"]) for item in calls]  # what goes back is whole JSON
    assert [item["tool_call_id"] for item in sent[3:5]] == [item["id"] for item in calls]
    assert len({item["id"] for item in calls}) == 2
    raw = trajectory.steps[0].action.completion
    assert raw is not None
    assert raw.tool_calls or "<tool_call>" in raw.text  # the record keeps the reply as it came


def test_the_faults_of_calls_leave_other_replies_good() -> None:
    for fault in FAULTY:
        assert FAULTS[fault](ServerReply("a")) == ServerReply("a")
