"""Skips what needs minihack where it is not installed; the tests of the families are data alone, and stay."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HAS_MINIHACK = all(importlib.util.find_spec(name) is not None for name in ("minihack", "nle"))
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if HAS_MINIHACK:
        return
    skip = pytest.mark.skip(reason="needs pip install 'metagym[minihack]'")
    for item in items:
        if item.path.parent == HERE and item.path.name != "test_minihack_families.py":
            item.add_marker(skip)
