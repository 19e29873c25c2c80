"""The public stand-ins, and the contract check: it finds each breach by name."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any

import numpy as np
import pytest

from metagym.envs.gates.env import GatesEnv
from metagym.errors import ContractError, ModelError
from metagym.models import Call
from metagym.testing import FakeChatModel, FakeOpenAIServer, ScriptedActor, ServerReply, check_text_env
from metagym.types import Action, Completion, Message, Observation
from tests.conftest import CorridorEnv, Serve, make_episode, make_step

USER: Message = {"role": "user", "content": "one two three"}
ASSISTANT: Message = {"role": "assistant", "content": "four"}


def complete(model: FakeChatModel, *messages: Message) -> Completion:
    return asyncio.run(model.complete(messages, Call(role="actor")))


def test_a_scripted_actor_plays_its_actions_and_repeats_the_last() -> None:
    actor = ScriptedActor(["a", Action(text=None, problem="?")])

    def act(num_steps: int) -> Action:
        return asyncio.run(actor.act(make_episode(), [make_step()] * num_steps, Observation(text="")))

    assert [act(n).text for n in range(4)] == ["a", None, None, None]
    assert actor.scripted


def test_a_fake_model_takes_the_reply_of_the_turn() -> None:
    model = FakeChatModel(["first", "second"])
    assert complete(model, USER).text == "first"
    assert complete(model, USER, ASSISTANT, USER).text == "second"
    assert complete(model, USER, ASSISTANT, USER, ASSISTANT, USER).text == "second"
    assert complete(model, USER).text == "first"


def test_a_fake_model_counts_words_as_tokens() -> None:
    usage = complete(FakeChatModel(["a b"]), USER).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.num_calls) == (3, 2, 1)


def test_a_fake_model_remembers_what_it_was_asked() -> None:
    model = FakeChatModel(lambda messages, call: f"{len(messages)} for the {call.role}")
    assert complete(model, USER).text == "1 for the actor"
    assert model.calls == [([USER], Call(role="actor"))]


def test_a_fake_model_raises_the_exceptions_in_its_list() -> None:
    with pytest.raises(ModelError, match=r"down"):
        complete(FakeChatModel([ModelError("down")]), USER)


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


def test_a_fake_server_speaks_the_protocol(serve: Serve) -> None:
    server = serve(lambda request: f"reply {request.number} to {request.messages[0]['content']}")
    status, body = post(server)
    assert status == 200
    assert body["choices"][0]["message"]["content"] == "reply 0 to one two three"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}
    assert server.requests[0].body["model"] == "m"


def test_a_fake_server_answers_as_badly_as_asked(serve: Serve) -> None:
    assert post(serve(ServerReply("busy", status=503))) == (
        503,
        {"error": {"message": "busy", "type": "fault", "code": None}},
    )
    assert post(serve(ServerReply(raw='{"odd": 1}'))) == (200, {"odd": 1})
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        post(serve(ServerReply(cut=True)))


# check_text_env ---------------------------------------------------------------------------------------


def test_good_environments_pass() -> None:
    check_text_env(GatesEnv())
    check_text_env(CorridorEnv())
    check_text_env(CorridorEnv(actions=None, report_success=False, info={"display": [[1, 2], {"a": None}]}))


def test_it_closes_the_environment() -> None:
    env = CorridorEnv()
    check_text_env(env)
    assert env.closed == 2


class RaisesOnUnknown(CorridorEnv):
    def step(self, action: str) -> Any:
        if action not in ("east", "west"):
            raise KeyError(action)
        return super().step(action)


class Unseeded(CorridorEnv):
    turns = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        Unseeded.turns += 1
        return super().reset(seed=(seed or 0) + Unseeded.turns, options=options)


class FourTuple(CorridorEnv):
    def step(self, action: str) -> Any:
        return super().step(action)[:4]


class Answers(CorridorEnv):
    """Answers each step as told."""

    def __init__(self, text: Any = "x", reward: Any = 0.0, terminated: Any = False) -> None:
        super().__init__()
        self.answer = (text, reward, terminated)

    def step(self, action: str) -> Any:
        text, reward, terminated = self.answer
        return text, reward, terminated, False, {"available_actions": ("east",)}


class KeepsItsTurns(CorridorEnv):
    """Says how many commands it has ever executed: an episode shows in the next."""

    turns = 0

    def step(self, action: str) -> Any:
        KeepsItsTurns.turns += 1
        return f"{self.turns}", *super().step(action)[1:]


class ClosesOnce(CorridorEnv):
    def close(self) -> None:
        super().close()
        if self.closed > 1:
            raise RuntimeError("closed already")


class OneValueFromReset(CorridorEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)[0]


class NoInfo(CorridorEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)[0], None


class NoSpace(CorridorEnv):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (RaisesOnUnknown(), "answer an unknown command in words, got KeyError.*Return a text that says so"),
        (Unseeded(), "equal episodes from equal seeds, got a difference at turn 0.*Draw from self.np_random"),
        (KeepsItsTurns(), "equal episodes from equal seeds, got a difference at turn 1: observation was '1'"),
        (ClosesOnce(), "the second close to be quiet, got RuntimeError: closed already"),
        (OneValueFromReset(), r"reset to return \(observation, info\), got Field"),
        (NoInfo(), "info to be a dict, got None.*Return a dict"),
        (NoSpace(), r"observation_space to be a Gymnasium space, got None.*TextSpace\(\)"),
        (FourTuple(), "step to return five values, got 4"),
        (Answers(text=np.zeros(2)), "an observation to be a str, got a ndarray.*TextAdapter"),
        (Answers(text="\ud800"), "an observation that UTF-8 can encode.*Replace lone surrogates"),
        (Answers(reward=float("nan")), "a finite reward, got nan"),
        (Answers(reward="much"), "a finite reward, got much"),
        (Answers(terminated=1), r"terminated to be a bool, got 1. Wrap it in bool\(\)"),
        (CorridorEnv(info={"goal": 3}), r"info\['goal'\] to be a str, got 3"),
        (CorridorEnv(actions=["east"]), r"info\['available_actions'\] to be a tuple of str"),  # type: ignore[arg-type]
        (CorridorEnv(report_success=False, info={"success": 1}), r"info\['success'\] to be a bool, got 1"),
        (CorridorEnv(info={"events": "rain"}), r"info\['events'\] to be a tuple of str, got rain"),
        (CorridorEnv(info={"outcome": 1}), r"info\['outcome'\] to be a str, got 1"),
        (CorridorEnv(info={"display": np.zeros(2)}), r"info\['display'\] to be JSON.*Turn arrays into lists"),
    ],
)
def test_a_breach_of_the_contract_is_named(env: Any, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        check_text_env(env)


def test_check_text_env_plays_the_task_that_it_is_given() -> None:
    asked: list[Any] = []

    class Listens(CorridorEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            asked.append(options)
            return super().reset(seed=seed, options=options)

    check_text_env(Listens(), options={"task_id": "corridor/0"})
    assert {"task_id": "corridor/0"} in asked
