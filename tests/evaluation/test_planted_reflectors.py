"""Every planted reflector of benchmarks/planted_reflectors.py is judged right."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from tests.conftest import ROOT

NAMES = (
    "honest learner", "honest learner, sub-kinds", "memoriser", "copier", "answer thief", "gambler", "harmful", "idle",
    "task reader", "long-winded", "long-winded, careful actor", "goal reader", "know-all", "early riser",
)  # fmt: skip


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("planted_reflectors")


def test_each_planted_reflector_has_a_test(benchmark: Any) -> None:
    assert tuple(item.name for item in benchmark.planted()) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_evaluation_says_what_is_true_of_the_reflector(benchmark: Any, name: str) -> None:
    (item,) = (item for item in benchmark.planted() if item.name == name)
    assert benchmark.judge(item, benchmark.CONFIG).marks - item.unjudged == item.right
