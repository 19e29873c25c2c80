"""make_reflector: from everything that can be written down to a live reflector."""

from __future__ import annotations

from typing import Any

import pytest

from metagym import ChatReflector
from metagym.errors import ConfigError
from metagym.reflectors import FixedReflector, FunctionReflector, make_reflector

LOCAL = {"model": "m", "base_url": "http://localhost:1/v1"}


class MyReflector:
    async def reflect(self, history: Any) -> Any:
        return None


def test_a_mapping_is_a_chat_reflector_with_room_for_a_long_reply() -> None:
    reflector: Any = make_reflector(LOCAL)
    assert isinstance(reflector, ChatReflector)
    assert reflector.model.sampling == {"temperature": 0.0, "max_tokens": 2_000}


def test_the_mappings_own_sampling_wins() -> None:
    few: Any = make_reflector({**LOCAL, "sampling": {"max_tokens": 7}})
    new: Any = make_reflector({**LOCAL, "sampling": {"max_completion_tokens": 8}})
    assert few.model.sampling["max_tokens"] == 7
    assert new.model.sampling == {"temperature": 0.0, "max_completion_tokens": 8}


def test_names_paths_functions_and_objects_name_reflectors() -> None:
    mine = MyReflector()
    assert isinstance(make_reflector("fixed"), FixedReflector)
    assert make_reflector("demo", demo=lambda: mine) is mine
    assert isinstance(make_reflector("tests.reflectors.test_factory:MyReflector"), MyReflector)
    assert make_reflector(mine) is mine
    assert isinstance(make_reflector(lambda history: "p"), FunctionReflector)


@pytest.mark.parametrize(
    ("reflector", "told"),
    [
        ("fixd", r"Unknown reflector 'fixd'.*Did you mean 'fixed'"),
        ("demo", "has no demo reflector. Name a model, or use 'fixed'"),
        ("tests.reflectors.test_factory:Nothing", "Expected an import path"),
        ({**LOCAL, "api_key": "k"}, "api_key_env='MY_KEY'"),
        ({**LOCAL, "history_steps": 3}, "Unknown key of the model mapping 'history_steps'"),
        (3, "Expected a Reflector or a function"),
    ],
)
def test_a_wrong_reflector_is_a_typed_error_with_the_remedy(reflector: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make_reflector(reflector)
