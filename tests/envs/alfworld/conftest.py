"""The official games and the stock engine; tests that need a missing one are skipped with a reason."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

from metagym.envs.alfworld.catalogue import GameCatalogue

GAMES = os.environ.get("ALFWORLD_DATA")
"""Read before any test changes it."""
HAS_STOCK = all(importlib.util.find_spec(name) for name in ("alfworld", "textworld", "fast_downward"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alfworld: needs the extra alfworld")


@pytest.fixture(autouse=True)
def nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the machine's games by chance, or leaves an index in its folder for temporary files."""
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def generated() -> GameCatalogue:
    return GameCatalogue(data="generated")


@pytest.fixture
def official() -> GameCatalogue:
    """The official games at hand."""
    if not GAMES:
        pytest.skip("needs official games: set ALFWORLD_DATA")
    return GameCatalogue(data="official", data_dir=GAMES)


@pytest.fixture
def stock() -> None:
    """Skip the test if the stock engine is not installed."""
    if not HAS_STOCK:
        pytest.skip("needs the extra alfworld")
