"""Replay the right calls of all 200 base tasks of MetaGym/Tools-v0: calls a second through the engine, and bare.

    python benchmarks/tools_speed.py [--runs 5]

It needs the package bfcl-eval. Tasks are read before the clock starts. CPU time of this process is counted, so that a
busy machine changes little; the ratio is of runs in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from measuring import Row, interleaved, median_ratio, note, run

from metagym.envs.tools import ToolsEnv, ToolsTask, load_tasks
from metagym.envs.tools.demo import DONE, ToolsExpert
from metagym.envs.tools.meta import ToolsMetaEnv

LIMIT = 2_000
"""Calls a second through the engine that are asked for."""


def per_call_s(act: Callable[[], None], num_calls: int) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    act()
    return (time.process_time() - start) / num_calls


def play_bare(tasks: list[ToolsTask]) -> None:
    """Play the solutions on one environment, without an engine."""
    env = ToolsEnv()
    for task in tasks:
        env.reset(options={"task_id": task.id})
        for turn in task.solution:
            for call in turn:
                env.step(call.text)
            *_, info = env.step(DONE)
        assert info["success"], task.id


def measure(arguments: argparse.Namespace) -> list[Row]:
    tasks = [task for task in load_tasks().values() if "/" not in task.family]
    tasks = tasks[:: 10 if arguments.quick else 1]
    num_calls = sum(map(len, (turn for task in tasks for turn in task.solution)))
    with ToolsMetaEnv(ToolsExpert(), max_steps=80) as env:

        def play() -> None:
            (played,) = env.replay(["p"], [task.id for task in tasks])
            assert list(played.scores) == [1.0] * len(tasks)

        play(), play_bare(tasks)  # the first run imports, and reads tools
        contenders = {
            "engine": lambda: per_call_s(play, num_calls),
            "bare": lambda: per_call_s(lambda: play_bare(tasks), num_calls),
        }
        found = interleaved(contenders, arguments.runs)
    note(f"{len(tasks)} tasks, {num_calls} calls a run")
    speeds = {name: 1 / sorted(seconds)[len(seconds) // 2] for name, seconds in found.items()}
    return [
        Row("calls a second through MetaEnv, all scored 1.0", speeds["engine"], "calls/s", f">= {LIMIT}"),
        Row("calls a second on the bare environment", speeds["bare"], "calls/s"),
        Row("CPU of a call through MetaEnv, to the bare environment", median_ratio(found, "engine", "bare")),
    ]


if __name__ == "__main__":
    run(measure, __doc__ or "", runs=5)
