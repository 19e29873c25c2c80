"""The benchmarks' own arithmetic, and that docs and calculation say the same. No test asserts a time."""

from __future__ import annotations

import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_a_ratio_is_the_median_of_the_ratios_within_rounds(benchmark_module: Any) -> None:
    measuring = benchmark_module("measuring")
    order: list[str] = []

    def contender(name: str, seconds: list[float]) -> Any:
        return lambda: order.append(name) or seconds.pop(0)

    found = measuring.interleaved({"a": contender("a", [2.0, 30.0, 4.0]), "b": contender("b", [1.0, 10.0, 4.0])}, 3)
    assert order == ["a", "b"] * 3
    assert measuring.median_ratio(found, "a", "b") == 2.0


@pytest.mark.parametrize(
    ("value", "limit", "verdict"),
    [(1.05, "<= 1.05", "holds"), (1.06, "<= 1.05", "MISSED"), (2.9, ">= 3", "MISSED"), (3.0, ">= 3", "holds")],
)
def test_a_row_says_whether_it_holds(benchmark_module: Any, value: float, limit: str, verdict: str) -> None:
    row = benchmark_module("measuring").Row("a ratio", value, limit=limit)
    assert row.verdict == verdict
    assert f"{limit} {verdict}" in benchmark_module("measuring").table([row])


def test_the_no_barrier_bound_is_the_longest_episode_or_all_work_over_the_slots(benchmark_module: Any) -> None:
    latency, echo = benchmark_module("latency"), benchmark_module("echo")
    batch = echo.episodes(16)
    alone = [latency.bound_s([episode], 1.0, None) for episode in batch]
    assert latency.bound_s(batch, 1.0, None) == max(alone)
    assert latency.bound_s(batch, 1.0, 2) == pytest.approx(sum(alone) / 2)
    assert latency.bound_s(batch, 1.0, 1_000) == max(alone)


def test_the_calculation_of_a_cluster(benchmark_module: Any) -> None:
    results = doctest.testmod(benchmark_module("cluster_calculation"))
    assert (results.attempted, results.failed) == (4, 0)


@pytest.mark.parametrize("arguments", [[], ["--client-processes", "1"], ["--gpus", "1000"]])
def test_the_docs_show_what_the_calculation_prints(arguments: list[str]) -> None:
    script = [sys.executable, str(FOLDER / "cluster_calculation.py"), *arguments]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert printed in (ROOT / "docs" / "results" / "cluster.md").read_text(encoding="utf-8")


def test_a_benchmark_writes_its_table_and_its_rows(tmp_path: Path) -> None:
    script = [sys.executable, str(FOLDER / "import_time.py"), "--quick", "--json", str(tmp_path / "rows.json")]
    done = subprocess.run(script, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "src")})
    told = json.loads((tmp_path / "rows.json").read_text())
    assert [row["what"] for row in told["rows"]][:1] == ["import metagym"]
    assert told["machine"]["packages"]["gymnasium"]
    assert "| import metagym |" in done.stdout
    assert told["rows"][-1]["value"] == 0, "an extra is imported by `import metagym`"
