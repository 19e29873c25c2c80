"""What grows: time and memory an episode over batches of 1 to 1,024, and memory over 1,000 meta-steps.

The echo environment and a model that answers at once. Memory in flight is what the allocator holds (tracemalloc)
while every episode of a batch waits in its last turn: records, messages and tasks, but not the texts that the game
itself has made.
Resident memory is read over meta-steps of 16 episodes through `MetaEnv`.

    python benchmarks/growth.py [--quick] [--runs 5] [--meta-steps 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tracemalloc
from collections.abc import Sequence

import numpy as np
from echo import ACTIONS, NUM_STEPS, TEXT, Echo, InstantModel, episodes
from measuring import Row, cpu_s, interleaved, resident_mib, run

from metagym.actor import ChatActor
from metagym.env import MetaEnv
from metagym.models import Call
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.tasks import TaskSet
from metagym.types import Completion, Message
from metagym.workers import LocalWorkers

BATCHES = (1, 4, 16, 64, 256, 1024)
GAME_KIB = (NUM_STEPS - 1) * sys.getsizeof(f"{ACTIONS[0]}: {TEXT}") / 2**10
"""The game's own texts of one episode."""
EPISODES = 1024
"""How many a timed run plays in all, so that each batch size is timed over the same work."""


def cpu_us_per_episode(batch: int) -> float:
    """Play meta-steps of that batch size, all in flight at once; return the CPU time of an episode."""
    config = RolloutConfig(max_steps=NUM_STEPS, max_concurrency=batch)
    engine = RolloutEngine(ChatActor(InstantModel()), LocalWorkers(Echo), config=config)
    rounds = max(1, min(EPISODES, 64 * batch) // batch)

    async def main() -> float:
        await engine.run(episodes(batch))  # environments are made
        gc.collect()
        start = cpu_s()
        for number in range(rounds):
            await engine.run(episodes(batch, seed=number))
        return (cpu_s() - start) / (rounds * batch) * 1e6

    return asyncio.run(main())


class WaitingModel(InstantModel):
    """Answers at once, but for the last turn, in which it waits until `count` episodes stand."""

    def __init__(self, count: int) -> None:
        self.left, self.all_stand, self.go_on = count, asyncio.Event(), asyncio.Event()

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        if len(messages) == 2 * NUM_STEPS:
            self.left -= 1
            if not self.left:
                self.all_stand.set()
            await self.go_on.wait()
        await asyncio.sleep(0)
        return await super().complete(messages, call)


def kib_in_flight(count: int) -> float:
    """Return the memory that one of `count` episodes in flight holds."""

    async def main() -> float:
        model = WaitingModel(count)
        config = RolloutConfig(max_steps=NUM_STEPS, max_concurrency=count)
        engine = RolloutEngine(ChatActor(model), LocalWorkers(Echo), config=config)
        batch = episodes(count)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        running = asyncio.create_task(engine.run(batch))
        await model.all_stand.wait()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        model.go_on.set()
        await running
        return held / count / 2**10 - GAME_KIB

    tracemalloc.start()
    try:
        return asyncio.run(main())
    finally:
        tracemalloc.stop()


class EchoMetaEnv(MetaEnv):
    @staticmethod
    def make_inner_env() -> Echo:
        return Echo()

    def make_task_set(self) -> TaskSet:
        return TaskSet.from_seeds(Echo, 200, digest=lambda env, task: str(task.seed))


def resident_over(meta_steps: int) -> list[float]:
    """Return the resident memory (MiB) after each hundredth part of so many meta-steps."""
    sizes = []
    with EchoMetaEnv(ChatActor(InstantModel()), episodes_per_step=16, max_steps=NUM_STEPS, schedule="same") as env:
        env.reset(seed=0)
        for number in range(meta_steps):
            env.step("Be quick.")
            if number % max(1, meta_steps // 100) == 0:
                gc.collect()
                sizes.append(resident_mib())
    return sizes


def measure(arguments: argparse.Namespace) -> list[Row]:
    batches = (16, 256) if arguments.quick else BATCHES
    runs = 2 if arguments.quick else arguments.runs
    found = interleaved({str(batch): lambda batch=batch: cpu_us_per_episode(batch) for batch in batches}, runs)
    medians = {batch: statistics.median(found[str(batch)]) for batch in batches}
    rows = [
        Row(f"CPU an episode, batch {batch}", cost, "us", "", "", "CPU an episode (us)", batch)
        for batch, cost in medians.items()
    ]
    flat = [medians[batch] for batch in batches if batch >= 16]
    rows.append(Row("most expensive / cheapest episode, batch 16 to 1,024", max(flat) / min(flat), "", "<= 1.2"))
    rows += [
        Row(f"memory an episode in flight, batch {count}", kib_in_flight(count), "KiB", "<= 97.6")
        for count in ((64,) if arguments.quick else (64, 1024))
    ]
    meta_steps = arguments.meta_steps // 10 if arguments.quick else arguments.meta_steps
    sizes = resident_over(meta_steps)
    settled = sizes[len(sizes) // 5 :]  # caches and the allocator's arenas fill first
    slope = float(np.polyfit(np.arange(len(settled)), settled, 1)[0]) * len(settled)
    rows.append(Row(f"growth of resident memory over {meta_steps} meta-steps", slope, "MiB", "<= 2"))
    rows += [
        Row("resident memory", size, "MiB", series="resident memory (MiB)", x=index * max(1, meta_steps // 100))
        for index, size in list(enumerate(sizes))[:: max(1, len(sizes) // 10)]
    ]
    return rows


if __name__ == "__main__":
    run(measure, __doc__, runs=5, meta_steps=1000)
