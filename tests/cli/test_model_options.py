"""The grammar of --actor, --reflector, --budget and --sampling, which is the same for every command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metagym.budget import Budget
from metagym.cli.model_options import (
    longest_reply,
    read_actor,
    read_budget,
    read_reflector,
    read_shared_model,
    replayed,
)
from metagym.errors import ConfigError
from metagym.types import MetaStep, Reflection
from tests.cli.conftest import Metagym

URL = "http://localhost:8000/v1"
LOCAL = {"model": "m", "base_url": URL}


class OverAModel:
    def __init__(self, model: Any, size: int = 1) -> None:
        self.model, self.size = model, size

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        return Reflection(prompt=str(self.size))


def write(path: str, value: Any) -> str:
    Path(path).write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Actors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "actor"),
    [
        ("demo", "demo"),
        ("random", "random"),
        ("package.module:MyActor", "package.module:MyActor"),
        (f"m@{URL}", LOCAL),
        (f"Qwen/Qwen3-8B@{URL}", {"model": "Qwen/Qwen3-8B", "base_url": URL}),
        (f"qwen3:8b@{URL}", {"model": "qwen3:8b", "base_url": URL}),
        (f"llama3:latest@{URL}", {"model": "llama3:latest", "base_url": URL}),
        (f"a@b@{URL}", {"model": "a@b", "base_url": URL}),
        ("gpt-4.1-mini", {"model": "gpt-4.1-mini"}),
        ("qwen3:8b", {"model": "qwen3:8b"}),
        ("claude@2024", {"model": "claude@2024"}),
    ],
)
def test_an_actor_is_a_word_a_class_or_a_model(spec: str, actor: Any) -> None:
    assert read_actor(spec) == actor


def test_an_actor_in_a_file_is_its_whole_mapping() -> None:
    mapping = {**LOCAL, "sampling": {"temperature": 1, "top_p": 0.5}, "history_steps": 3}
    assert read_actor(write("model.json", mapping)) == mapping
    sampled = read_actor("model.json", "temperature=0,max_tokens=800")
    assert sampled["sampling"] == {"temperature": 0, "top_p": 0.5, "max_tokens": 800}


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (None, r"No actor is named, .* Write --actor NAME@URL .* or --actor demo"),
        ("dmeo", r"Unknown actor 'dmeo': .*Did you mean 'demo'\?"),
        ("", "--actor expects a model as NAME@URL"),
        (URL, "--actor expects a model as NAME@URL"),
        ("m@localhost:8000/v1", "--actor expects a model as NAME@URL"),
        ("./runs/nowhere", "--actor expects a model as NAME@URL"),
        ("m@http://user:secret@host/v1", "--actor takes no key, since command lines are seen by others"),
        ("nowhere.json", "--actor expects a file of text in UTF-8, got nowhere.json"),
        ("list.json", r"--actor expects a JSON mapping in list.json, got '\[1\]'"),
        ("broken.json", "--actor expects a JSON mapping in broken.json: "),
    ],
)
def test_a_wrong_actor_is_refused_with_the_forms_that_it_may_have(spec: str | None, problem: str) -> None:
    write("list.json", [1])
    Path("broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=problem) as raised:
        read_actor(spec)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("actor", ["demo", "random", "package.module:MyActor"])
def test_sampling_is_refused_if_no_model_samples(actor: str) -> None:
    with pytest.raises(ConfigError, match=f"--sampling says how a model on a server samples, and '{actor}' is not one"):
        read_actor(actor, "temperature=0")


# Reflectors -------------------------------------------------------------------------------------------

PATH = "tests.cli.test_model_options:OverAModel"
FUNCTION = "tests.cli.test_model_options:write"


@pytest.mark.parametrize(
    ("spec", "reflector"),
    [
        (None, LOCAL),
        ("demo", "demo"),
        ("fixed", "fixed"),
        ("exemplars", "exemplars"),
        ("ace_style", {"method": "ace_style", **LOCAL}),
        ("ace_style:demo", {"method": "ace_style", "model": "demo"}),
        ("ace_style:gpt-4o", {"method": "ace_style", "model": "gpt-4o"}),
        (f"ace_style:qwen3:8b@{URL}", {"method": "ace_style", "model": "qwen3:8b", "base_url": URL}),
        (f"other@{URL}", {"model": "other", "base_url": URL}),
        (f"qwen3:8b@{URL}", {"model": "qwen3:8b", "base_url": URL}),
        ("gpt-4o", {"model": "gpt-4o"}),
        (PATH, {"method": PATH, **LOCAL}),
        (f"{PATH}:gpt-4o", {"method": PATH, "model": "gpt-4o"}),
        (FUNCTION, FUNCTION),
        ("trained", "trained"),
    ],
)
def test_a_reflector_is_a_word_a_method_a_model_or_a_folder(spec: str | None, reflector: Any) -> None:
    Path("trained").mkdir()
    Path("fixed").mkdir()  # a method's name comes before a folder of that name
    actor = {**LOCAL, "sampling": {"temperature": 0}, "history_steps": 3}
    assert read_reflector(spec, actor=actor) == reflector


def test_a_reflector_in_a_file_has_its_own_model_or_the_actors() -> None:
    write("own.json", {"method": "ace_style", "options": {"max_items": 5}, "model": "demo"})
    write("shared.json", {"method": "ace_style", "options": {"max_items": 5}})
    assert read_reflector("own.json", actor=LOCAL)["model"] == "demo"
    shared = {"method": "ace_style", "options": {"max_items": 5}, **LOCAL}
    assert read_reflector("shared.json", actor=LOCAL) == shared
    write("model.json", LOCAL)
    assert read_reflector("ict:model.json", actor="demo") == {"method": "ict", **LOCAL}


def test_the_scripted_actor_goes_with_the_scripted_reflector() -> None:
    assert read_reflector(None, actor="demo") == "demo"
    assert read_reflector("ace_style", actor="demo") == "ace_style"


def test_an_actor_without_a_model_leaves_the_reflector_to_be_named() -> None:
    with pytest.raises(ConfigError, match="No reflector is named, and the actor 'random' has no model to share"):
        read_reflector(None, actor="random")


def test_a_reflectors_sampling_is_not_the_actors() -> None:
    actor = {**LOCAL, "sampling": {"temperature": 0, "max_tokens": 80}}
    assert read_reflector("ict", "temperature=1", actor=actor)["sampling"] == {"temperature": 1}
    with pytest.raises(ConfigError, match="--reflector-sampling says how a model on a server samples, and 'fixed'"):
        read_reflector("fixed", "temperature=1", actor=actor)


@pytest.mark.parametrize("spec", ["ace_stile", "dmeo"])
def test_a_slip_in_a_methods_name_is_not_taken_for_a_model(spec: str) -> None:
    with pytest.raises(ConfigError, match=rf"Unknown reflector '{spec}'.*Did you mean '(ace_style|demo)'"):
        read_reflector(spec, actor=LOCAL)


def test_the_methods_of_an_arena_share_one_model() -> None:
    assert read_shared_model(None, actor="demo") == {"model": "demo"}
    assert read_shared_model(None, actor="random") is None
    assert read_shared_model(None, "max_tokens=9", actor=LOCAL) == {**LOCAL, "sampling": {"max_tokens": 9}}
    assert read_shared_model(f"big@{URL}", actor=LOCAL) == {"model": "big", "base_url": URL}


def test_a_replay_asks_no_server() -> None:
    client = replayed({**LOCAL, "client": {"max_concurrency": 4}}, "actor", "replies.sqlite")["client"]
    assert client == {"max_concurrency": 4, "offline": True}
    assert replayed("demo", "actor", "replies.sqlite") == "demo"
    scripted = {"method": "ace_style", "model": "demo"}
    assert replayed(scripted, "reflector", "replies.sqlite") == scripted


# Budgets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("episodes=50", Budget(episodes=50)),
        ("tokens=20_000, cost=1.5", Budget(tokens=20_000, cost=1.5)),
        ("calls = 7", Budget(calls=7)),
    ],
)
def test_a_budget_is_names_and_numbers(text: str, budget: Budget) -> None:
    assert Budget(**read_budget(text)) == budget


@pytest.mark.parametrize(
    "text", ["50", "", "episode=5", "episodes=many", "episodes=-1", "calls=1,calls=2", "cost=Infinity"]
)
def test_a_wrong_budget_is_refused_with_the_names(text: str) -> None:
    for option in ("--budget", "--learning-budget"):
        with pytest.raises(ConfigError, match=rf"{option} expects NAME=NUMBER .*tokens, calls, cost, episodes; got"):
            read_budget(text, option=option)


def test_a_new_budget_takes_the_place_of_the_old_one_by_name() -> None:
    assert read_budget("calls=9", base={"calls": 5, "tokens": 7}) == {"calls": 9, "tokens": 7}
    assert read_budget(None, base={"calls": 5}) == {"calls": 5}
    assert read_budget("calls=null", base={"calls": 5}) == {"calls": None}


# Through the door -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reflector", "problem"),
    [
        ("ace_stile", "Did you mean 'ace_style'"),
        ("ace_style", "The method 'ace_style' needs a model"),
        ("x" * 300, "Expected a key or a server, got neither"),
    ],
)
def test_a_method_that_cannot_be_made_ends_in_a_sentence(command: Metagym, reflector: str, problem: str) -> None:
    done = command("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", reflector, "--out", "r")
    assert done.code == 1
    assert problem in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "MetaGym/Gates-v0"),
        ("evaluate", "--preset", "ict-small"),
        ("arena",),
        ("train", "collect", "MetaGym/Gates-v0", "-o", "data"),
    ],
)
def test_every_command_wants_an_explicit_actor(command: Metagym, arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.code == 1
    for remedy in ("--actor NAME@URL", "@http://localhost:8000/v1", "--actor NAME (", "--actor demo"):
        assert remedy in done.err


def test_a_wrong_setting_of_the_client_is_a_sentence(command: Metagym) -> None:
    model = write("model.json", {**LOCAL, "client": {"max_concurrency": 0}})
    assert "Field of the client 'max_concurrency' got 0" in command("run", "MetaGym/Gates-v0", "--actor", model).err
    model = write("model.json", {**LOCAL, "client": [1]})
    assert "'client' in the mapping must be of type" in command("run", "MetaGym/Gates-v0", "--actor", model).err


@pytest.mark.parametrize(
    ("sampling", "tokens"),
    [({}, 80), ({"max_tokens": 40}, 40), ({"max_tokens": None}, 80), ({"max_completion_tokens": 9}, 9)],
)
def test_the_longest_reply_is_that_of_the_sampling(sampling: dict[str, Any], tokens: int) -> None:
    assert longest_reply({"model": "m", "sampling": sampling}, 80) == tokens


@pytest.mark.parametrize(
    "secret",
    [
        {"base_url": "http://bob:hunter2@h/v1"},
        {"base_url": "h:8000/v1?key=hunter2"},
        {"sampling": {"api_key": "hunter2"}},
        {"sampling": {"extra_headers": {"Authorization": "hunter2"}}},
        {"api_key_env": "sk-hunter2"},
    ],
)
def test_a_secret_in_the_spec_of_a_model_is_refused_and_not_shown(command: Metagym, secret: dict[str, Any]) -> None:
    model = write("model.json", {**LOCAL, **secret})
    done = command("run", "MetaGym/Gates-v0", "--actor", model, "--reflector", "fixed", "-n", "1")
    assert done.code == 1
    assert "hunter2" not in done.out + done.err
