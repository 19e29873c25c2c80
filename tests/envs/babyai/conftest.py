"""Skips the tests of BabyAI if minigrid is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    is_missing = importlib.util.find_spec("minigrid") is None
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.babyai)
            if is_missing:
                item.add_marker(pytest.mark.skip(reason="needs the extra babyai"))
