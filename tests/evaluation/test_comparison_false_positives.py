"""Small versions of the benchmarks about false positives: equal arms are seldom called different."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest

from tests.conftest import ROOT

ALL_WORDS = ("evaluate", "compare", "extend, gain", "extend, difference", "arena")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def most(num: int) -> float:
    """The largest share that `num` draws of a level of 5 % give, by three standard errors."""
    return 0.05 + 3 * math.sqrt(0.05 * 0.95 / num)


@pytest.mark.slow
def test_an_arm_is_seldom_called_different_from_itself_and_intervals_cover_the_truth(benchmark: Any) -> None:
    module = benchmark("false_positives")
    pool = module.Pool(8, 20, 0.15)
    for num_seeds in (5, 10):
        found = module.simulate(pool, num_seeds, 1_500)
        # Three standard errors of 1,500 draws, around 5 % and 95 %.
        assert 0.02 < found["false positives"] < 0.07
        assert 0.93 < found["coverage"] < 0.975


@pytest.mark.slow
def test_no_command_calls_equal_arms_different_too_often(benchmark: Any) -> None:
    module = benchmark("false_positives_by_command")
    found = module.simulate(module.NULLS["flat"], 6, num_comparisons=1_000, num_arenas=300, num_through=5)
    shares = {name: found.yes[name] / found.all[name] for name in ALL_WORDS}
    assert [name for name, share in shares.items() if share > most(found.all[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("law", ["flat", "floor", "unequal", "skewed"])
def test_a_gate_seldom_decides_between_equal_prompts(benchmark: Any, law: str) -> None:
    module = benchmark("false_positives_by_command")
    found = module.simulate_gate(module.NULLS[law], 100, 400)
    assert found.yes["gate"] / found.all["gate"] <= most(400)


def test_of_the_intervals_of_a_skewed_score_only_those_by_bounds_cover(benchmark: Any) -> None:
    found = benchmark("score_intervals").simulate("skewed", 5, 60, 50)
    assert found["bets"][0] == found["empirical Bernstein"][0] == 1.0
    assert all(found[name][0] < 0.9 for name in ("Student", "Johnson", "bootstrap t"))
    assert found["Student"][1] < found["bets"][1] < found["empirical Bernstein"][1]
