"""A small version of benchmarks/false_positives.py: an A/A comparison seldom says "different"."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "false_positives.py"))


@pytest.mark.slow
def test_an_arm_is_seldom_called_different_from_itself_and_intervals_cover_the_truth(benchmark: dict[str, Any]) -> None:
    pool = benchmark["Pool"](8, 20, 0.15)
    for num_seeds in (5, 10):
        found = benchmark["simulate"](pool, num_seeds, 1_500)
        # Three standard errors of 1,500 draws, around 5 % and 95 %.
        assert 0.02 < found["false positives"] < 0.07
        assert 0.93 < found["coverage"] < 0.975
