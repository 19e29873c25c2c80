"""Methods by name, and make_reflector: a reflector from a mapping, a name, a path, a function or an object."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metagym.errors import ConfigError, UnknownNameError
from metagym.reflectors import (
    ChatReflector,
    FixedReflector,
    find_method,
    make_reflector,
    method_names,
    registry,
    takes_model,
)
from metagym.reflectors.protocol import FunctionReflector
from metagym.reflectors.registry import METHODS
from metagym.types import MetaStep, Reflection
from tests.reflectors.test_rollouts import Rollouts

LOCAL = {"model": "m", "base_url": "http://localhost:1/v1"}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_imports_and_is_a_reflector(name: str) -> None:
    assert hasattr(find_method(name), "reflect")


def test_a_mapping_names_method_model_and_options() -> None:
    reflector: Any = make_reflector({"method": "ict", **LOCAL, "options": {"max_tokens": 500}})
    assert isinstance(reflector, ChatReflector)
    assert (reflector.max_tokens, reflector.model.model) == (500, "m")
    assert isinstance(make_reflector({"method": "fixed"}), FixedReflector)


def test_a_mapping_is_a_chat_reflector_with_room_for_a_long_reply() -> None:
    reflector: Any = make_reflector(LOCAL)
    assert isinstance(reflector, ChatReflector)
    assert reflector.model.sampling == {"max_tokens": 8_192}


def test_the_mappings_own_sampling_has_priority() -> None:
    few: Any = make_reflector({**LOCAL, "sampling": {"max_tokens": 7}})
    new: Any = make_reflector({**LOCAL, "sampling": {"max_completion_tokens": 8}})
    assert few.model.sampling["max_tokens"] == 7
    assert new.model.sampling == {"max_completion_tokens": 8}


def test_names_paths_functions_and_objects_name_reflectors() -> None:
    mine = Rollouts()
    assert isinstance(make_reflector("fixed"), FixedReflector)
    assert make_reflector("demo", demo=lambda: mine) is mine
    assert make_reflector(mine) is mine
    assert isinstance(make_reflector(lambda history: "p"), FunctionReflector)


@pytest.mark.parametrize(
    ("reflector", "error", "message"),
    [
        ({"method": "icct", **LOCAL}, UnknownNameError, r"Unknown method 'icct'.*Did you mean 'ict'"),
        ({"method": "ict"}, ConfigError, r"'ict' needs a model: .*--reflector ict:NAME@URL"),
        ("ict", ConfigError, r"'ict' needs a model"),
        ({"method": "fixed", **LOCAL}, ConfigError, r"'fixed' takes no model; leave out 'model', 'base_url'"),
        ({"method": "ict", **LOCAL, "options": {"max_tokns": 1}}, ConfigError, r"'ict' takes the options max_tokens, "),
        ("fixd", UnknownNameError, r"Unknown reflector 'fixd'.*Did you mean 'fixed'"),
        ("demo", ConfigError, "has no demo reflector. Name a model, or use 'fixed'"),
        ("tests.reflectors.test_registry:Nothing", ConfigError, "Expected an import path"),
        ({**LOCAL, "api_key": "k"}, ConfigError, "api_key_env='MY_KEY'"),
        ({**LOCAL, "history_steps": 3}, ConfigError, "Unknown key of the model mapping 'history_steps'"),
        (3, ConfigError, "Expected a Reflector or a function"),
    ],
)
def test_a_wrong_reflector_is_a_typed_error_with_the_remedy(
    reflector: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_reflector(reflector)


class OverAModel:
    def __init__(self, model: Any, size: int = 1) -> None:
        self.model, self.size = model, size

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        return Reflection(prompt=str(self.size))


def test_your_own_class_is_a_method_by_its_import_path() -> None:
    path = "tests.reflectors.test_registry:OverAModel"
    reflector: Any = make_reflector({"method": path, **LOCAL, "options": {"size": 3}})
    assert (reflector.model.model, reflector.size) == ("m", 3)
    assert takes_model(path)
    assert not takes_model("tests.reflectors.test_rollouts:Rollouts")
    assert isinstance(make_reflector("tests.reflectors.test_rollouts:Rollouts"), Rollouts)
    with pytest.raises(ConfigError, match=r"OverAModel' needs a model"):
        make_reflector(path)


def test_a_method_is_preferred_to_a_folder_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fixed").mkdir()
    assert isinstance(make_reflector("fixed"), FixedReflector)


def test_packages_add_methods_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        importlib.metadata.EntryPoint("mine", "tests.reflectors.test_rollouts:Rollouts", "metagym.reflectors"),
        importlib.metadata.EntryPoint("broken", "no_such_package:X", "metagym.reflectors"),
        importlib.metadata.EntryPoint("checkpoint", "needs:a_folder", "metagym.reflectors"),  # no method
    ]
    monkeypatch.setattr(registry, "_installed", registry._installed.__wrapped__)  # without the cache
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: entries)
    assert method_names() == (*METHODS, "broken", "mine")
    assert isinstance(make_reflector("mine"), Rollouts)
    assert not takes_model("mine")
    with pytest.raises(ConfigError, match=r"'broken' cannot be imported from 'no_such_package:X'"):
        find_method("broken")
