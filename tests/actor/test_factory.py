"""make_actor: from everything that can be written down to a live actor; secrets are refused."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import gymnasium
import pytest

from metagym import ChatActor, OpenAIChatModel
from metagym.actor import FunctionActor, RandomActor, ScriptedActorWarning, make_actor
from metagym.errors import ConfigError, UnknownNameError
from metagym.testing import ScriptedActor
from metagym.types import Action, Observation
from tests.conftest import make_episode

LOCAL = {"model": "m", "base_url": "http://localhost:1/v1"}


class MyActor:
    async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
        return Action(text="mine")


def my_actor(episode: Any, steps: Any, observation: Any) -> str:
    return "mine"


SHARED_ACTOR = ScriptedActor(["shared"])


def act(actor: Any) -> str | None:
    return asyncio.run(actor.act(make_episode(), (), Observation(text=""))).text


def test_a_mapping_is_a_chat_actor_over_a_model() -> None:
    actor = make_actor({**LOCAL, "sampling": {"temperature": 1}, "history_steps": 3, "timeout_s": 5})
    assert isinstance(actor, ChatActor)
    assert isinstance(actor.model, OpenAIChatModel)
    assert (actor.history_steps, actor.model.timeout_s, actor.model.sampling["temperature"]) == (3, 5, 1)


@pytest.mark.parametrize(
    ("items", "fingerprint"),
    [
        (3, {"kind": "retrieve_items", "top_k": 3, "below": None}),
        ({"top_k": 2, "below": "## Memory"}, {"kind": "retrieve_items", "top_k": 2, "below": "## Memory"}),
        (None, None),
    ],
)
def test_a_mapping_says_how_the_actor_reads_its_prompt(items: Any, fingerprint: Any) -> None:
    actor: Any = make_actor({**LOCAL, "retrieve_items": items})
    assert actor.fingerprint["read_prompt"] == fingerprint


def test_random_names_the_random_actor() -> None:
    assert isinstance(make_actor("random"), RandomActor)


def test_demo_names_the_environments_own_actor_silently() -> None:
    demo = ScriptedActor(["x"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make_actor("demo", demo=lambda: demo) is demo


def test_an_import_path_names_a_class_a_function_or_an_object() -> None:
    assert act(make_actor("tests.actor.test_factory:MyActor")) == "mine"
    assert act(make_actor("tests.actor.test_factory:my_actor")) == "mine"
    assert act(make_actor("tests.actor.test_factory:SHARED_ACTOR")) == "shared"


def test_an_actor_is_returned_unchanged_and_a_function_is_wrapped() -> None:
    assert make_actor(SHARED_ACTOR) is SHARED_ACTOR
    assert isinstance(make_actor(my_actor), FunctionActor)


def test_without_actor_and_model_the_demo_actor_plays_with_a_warning() -> None:
    demo = ScriptedActor(["x"])
    with pytest.warns(ScriptedActorWarning, match=r"a script plays: it is no language model.*METAGYM_MODEL"):
        assert make_actor(None, demo=lambda: demo) is demo


def test_metagym_model_names_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGYM_MODEL", "big")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    actor: Any = make_actor(None, demo=lambda: ScriptedActor(["x"]))
    assert (actor.model.model, actor.model.base_url) == ("big", "http://127.0.0.1:9/v1")


def test_a_key_without_a_model_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY is set, but no model is named: expected METAGYM_MODEL") as e:
        make_actor(None, demo=lambda: ScriptedActor(["x"]))
    assert "sk-secret" not in str(e.value)


def test_no_actor_and_no_model_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"Expected an actor, got nothing. Pass actor="):
        make_actor(None)


def test_an_api_key_in_the_mapping_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"name the variable: api_key_env='MY_KEY'") as raised:
        make_actor({**LOCAL, "api_key": "sk-secret"})
    assert "sk-secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("actor", "error", "message"),
    [
        ({"base_url": "http://localhost/v1"}, ConfigError, r"must hold 'model', a str; got the keys \['base_url'\]"),
        ({"model": 3}, ConfigError, "must hold 'model', a str"),
        ({**LOCAL, "modle": "m"}, UnknownNameError, r"Unknown key of the model mapping 'modle'.*Did you mean 'model'"),
        ("gpt-4", UnknownNameError, r"Unknown actor 'gpt-4'.*A model is named by a mapping"),
        ("demo", ConfigError, "has no demo actor. Pass actor="),
        ("no_such_module:Actor", ConfigError, r"Expected an import path 'package.module:name', got 'no_such_module"),
        ("tests.actor.test_factory:NoSuchActor", ConfigError, "has no attribute 'NoSuchActor'"),
        (3, ConfigError, "Expected an actor, a function, a mapping or a name, got int"),
    ],
)
def test_a_wrong_actor_is_a_typed_error_with_the_remedy(actor: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_actor(actor)


@pytest.mark.parametrize(
    "mapping",
    [
        {**LOCAL, "timeout_s": "soon"},
        {**LOCAL, "timeout_s": 0},
        {**LOCAL, "history_steps": "all"},
        {**LOCAL, "history_steps": -1},
        {**LOCAL, "sampling": "hot"},
        {**LOCAL, "retrieve_items": "three"},
        {**LOCAL, "retrieve_items": -1},
        {**LOCAL, "retrieve_items": {"top_l": 3}},
        {**LOCAL, "retrieve_items": {"top_k": "3"}},
        {**LOCAL, "base_url": "localhost:8000"},
        {**LOCAL, "base_url": 8000},
        {"model": ""},
    ],
)
def test_a_wrong_value_in_the_mapping_is_a_typed_error(mapping: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"got"):
        make_actor(mapping)


def test_a_plain_function_is_an_actor() -> None:
    assert act(FunctionActor(lambda episode, steps, observation: f"{observation.text}push")) == "push"


def test_an_async_function_is_an_actor() -> None:
    async def play(episode: Any, steps: Any, observation: Any) -> Action:
        return Action(text="knock", thought="hm")

    action = asyncio.run(FunctionActor(play).act(make_episode(), (), Observation(text="")))
    assert action == Action(text="knock", thought="hm")


@pytest.mark.parametrize("actor", ["demo", "random", "tests.actor.test_factory:MyActor", LOCAL])
def test_actors_that_can_be_written_down_survive_the_spec(actor: Any) -> None:
    env = gymnasium.make("MetaGym/Gates-v0", actor=actor, families=["law-0003"])
    assert env.spec is not None
    spec = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
    again: Any = gymnasium.make(spec).unwrapped
    assert again.fingerprint == env.unwrapped.fingerprint  # type: ignore[attr-defined]
    env.close()
    again.close()
