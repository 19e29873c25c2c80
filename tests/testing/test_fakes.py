"""The fakes: a chat model that replies from a list or a function, and an actor that plays a list of actions."""

from __future__ import annotations

import asyncio

import pytest

from metagym.errors import ModelError
from metagym.models import Call
from metagym.testing import FakeChatModel, ScriptedActor
from metagym.types import Action, Completion, Message, Observation
from tests.conftest import make_episode, make_step

USER: Message = {"role": "user", "content": "one two three"}
ASSISTANT: Message = {"role": "assistant", "content": "four"}


def complete(model: FakeChatModel, *messages: Message) -> Completion:
    return asyncio.run(model.complete(messages, Call(role="actor")))


def test_the_model_takes_the_reply_of_the_turn() -> None:
    model = FakeChatModel(["first", "second"])
    assert complete(model, USER).text == "first"
    assert complete(model, USER, ASSISTANT, USER).text == "second"
    assert complete(model, USER, ASSISTANT, USER, ASSISTANT, USER).text == "second"
    assert complete(model, USER).text == "first"


def test_the_model_counts_words_as_tokens() -> None:
    usage = complete(FakeChatModel(["a b"]), USER).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.num_calls) == (3, 2, 1)


def test_the_model_keeps_its_calls() -> None:
    model = FakeChatModel(lambda messages, call: f"{len(messages)} for the {call.role}")
    assert complete(model, USER).text == "1 for the actor"
    assert model.calls == [([USER], Call(role="actor"))]


def test_the_model_raises_the_exceptions_in_its_list() -> None:
    with pytest.raises(ModelError, match=r"down"):
        complete(FakeChatModel([ModelError("down")]), USER)


def test_the_actor_plays_its_actions_and_repeats_the_last() -> None:
    actor = ScriptedActor(["a", Action(text=None, problem="?")])

    def act(num_steps: int) -> Action:
        return asyncio.run(actor.act(make_episode(), [make_step()] * num_steps, Observation(text="")))

    assert [act(n).text for n in range(4)] == ["a", None, None, None]
    assert actor.scripted
