"""Latency, concurrency, kind of workers and failures change the order of events, never the trajectories."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagym import background
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.types import Trajectory
from metagym.workers import LocalWorkers, ProcessWorkers, RayWorkers
from tests.workers.faulty import FAULTS, FaultyCorridor, LatentActor, episodes
from tests.workers.test_ray import needs_ray

batches = st.lists(st.sampled_from(FAULTS), max_size=12)


def play(workers: Any, faults: list[str], folder: Path, actor: LatentActor, concurrency: int) -> list[str]:
    config = RolloutConfig(max_steps=9, max_concurrency=concurrency)
    handed_out: list[Trajectory] = []
    engine = RolloutEngine(actor, workers, config=config, on_episode=handed_out.append)
    played = background.run(engine.run(episodes(faults, folder)))
    assert sorted(map(id, handed_out)) == sorted(map(id, played)), "each is recorded once"
    return [item.model_dump_json() for item in played]


def check(workers: Any, faults: list[str], seed: int, most_ms: float, concurrency: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        concurrent = play(workers, faults, Path(folder), LatentActor(seed, most_ms), concurrency)
        # Faults that occur once have occurred, so that the serial run meets only permanent faults.
        serial = play(LocalWorkers(FaultyCorridor), faults, Path(folder), LatentActor(0, 0.0), 1)
    assert concurrent == serial


@given(batches, st.integers(0, 99), st.floats(0, 3), st.integers(1, 16))
def test_in_this_process_trajectories_equal_those_of_the_serial_run(
    faults: list[str], seed: int, most_ms: float, concurrency: int
) -> None:
    check(LocalWorkers(FaultyCorridor), faults, seed, most_ms, concurrency)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Callable[[str], Any]]:
    """Workers that all examples share: a process takes long to start."""
    opened: dict[str, Any] = {}

    def get(kind: str) -> Any:
        make = {"1": lambda: ProcessWorkers(FaultyCorridor, 1), "3": lambda: ProcessWorkers(FaultyCorridor, 3)}
        make["ray"] = lambda: RayWorkers(FaultyCorridor, num_hosts=2)
        return opened.get(kind) or opened.setdefault(kind, make[kind]())

    yield get
    for workers in opened.values():
        workers.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["1", "3", pytest.param("ray", marks=needs_ray)])
def test_in_other_processes_trajectories_equal_those_of_the_serial_run(hosts: Callable[[str], Any], kind: str) -> None:
    @settings(max_examples=12)
    @given(batches, st.integers(0, 99), st.floats(0, 3), st.integers(1, 16))
    def law(faults: list[str], seed: int, most_ms: float, concurrency: int) -> None:
        check(hosts(kind), faults, seed, most_ms, concurrency)

    law()
