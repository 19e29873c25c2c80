"""How a CPU-heavy inner environment spreads: in process, over 1, 2 and 4 worker processes, and over Ray.

Ray has as many hosts as there are cores, and is left out where it is not installed. An episode takes about 100 ms
of CPU. All workers are warm; runs are interleaved. On a machine that is busy otherwise the figures say little.

    python benchmarks/parallel.py [--quick] [--runs 4] [--episodes 24]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from typing import Any

from cpu_heavy import NUM_STEPS, CpuHeavy
from measuring import Row, interleaved, median_ratio, note, run, wall_s

from metagym import background
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.testing import ScriptedActor
from metagym.types import Episode, Task
from metagym.workers import LocalWorkers, ProcessWorkers, RayWorkers


def measure(arguments: argparse.Namespace) -> list[Row]:
    if arguments.quick:
        arguments.episodes = 8
    tasks = [Task(id=f"heavy/{i}", family="heavy", split="train", seed=i) for i in range(arguments.episodes)]
    batch = [Episode(prompt="Go on.", task=task, seed=task.seed) for task in tasks]
    hosts = os.cpu_count() or 1
    opened: dict[str, Any] = {"local": LocalWorkers(CpuHeavy)}
    opened |= {str(count): ProcessWorkers(CpuHeavy, count) for count in (1, 2, 4)}
    if importlib.util.find_spec("ray") is None:
        note("Ray is left out: it needs the extra ray")
    else:
        opened["ray"] = RayWorkers(CpuHeavy, num_hosts=hosts)
        if str(hosts) not in opened:
            opened[str(hosts)] = ProcessWorkers(CpuHeavy, hosts)
    config = RolloutConfig(max_steps=NUM_STEPS)
    engines = {name: RolloutEngine(ScriptedActor(["go"]), workers, config=config) for name, workers in opened.items()}

    def play(engine: RolloutEngine) -> None:
        played = background.run(engine.run(batch))
        assert all(item.success for item in played), played[0].error

    def timed(engine: RolloutEngine) -> Callable[[], float]:
        return lambda: wall_s(lambda: play(engine))

    contenders = {name: timed(engine) for name, engine in engines.items()}
    try:
        interleaved(contenders, 1)  # processes start
        found = interleaved(contenders, 2 if arguments.quick else arguments.runs)
    finally:
        for workers in opened.values():
            workers.close()
    rows = []
    for count in (2, 4):
        limit = ">= 1.7" if count == 2 and hosts >= 2 else ""
        ratio = median_ratio(found, "1", str(count))
        rows.append(Row(f"1 worker / {count} workers", ratio, "", limit, f"{hosts} cores", "worker processes", count))
    rows.append(Row("1 worker / in process", median_ratio(found, "1", "local"), note="what the socket costs"))
    if "ray" in found:
        ratio = median_ratio(found, "ray", str(hosts))
        rows.append(Row(f"Ray, {hosts} hosts / {hosts} worker processes", ratio, "", "<= 1.2"))
    return rows


if __name__ == "__main__":
    run(measure, __doc__, runs=4, episodes=24)
