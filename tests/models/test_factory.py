"""make_model: the keys of a model mapping, and the model that the environment variables name."""

from __future__ import annotations

import pytest

from metagym.errors import UnknownNameError
from metagym.models import make_model, model_from_environment

LOCAL = {"model": "m", "base_url": "http://localhost:1/v1"}


def test_a_model_mapping_has_only_the_keys_of_the_model() -> None:
    assert make_model(LOCAL).model == "m"
    with pytest.raises(UnknownNameError, match=r"'history_steps'"):
        make_model({**LOCAL, "history_steps": 1})


def test_the_environment_names_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_from_environment() is None
    monkeypatch.setenv("METAGYM_MODEL", "big")
    assert model_from_environment() == {"model": "big"}
