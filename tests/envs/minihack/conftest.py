"""Skips the tests of MiniHack if minihack is not installed, except those of the families, which are data only."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.env import MiniHackTextEnv

HAS_MINIHACK = all(importlib.util.find_spec(name) is not None for name in ("minihack", "nle"))
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if HAS_MINIHACK:
        return
    skip = pytest.mark.skip(reason="needs the extra minihack")
    for item in items:
        if HERE in item.path.parents and item.path.name != "test_families.py":
            item.add_marker(skip)


@pytest.fixture(scope="module")
def pool():
    pool = GamePool()
    yield pool
    pool.close()


@pytest.fixture
def env(pool):
    env = MiniHackTextEnv(pool=pool)
    yield env
    env.close()
