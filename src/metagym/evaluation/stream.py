"""Streams: one task at a time, one family after another. It measures the online score, and forgetting.

A meta-episode (seed) goes through all families, `num_steps` meta-steps each, in an order drawn per seed; the
prompt is carried on. The prompt after each family's block is tested on fixed tasks of all families.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from metagym.env import meta_env_of
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.figures import MeasurementTable, mean_of
from metagym.evaluation.learning import learn
from metagym.evaluation.plan import Plan
from metagym.evaluation.report import SCRIPTED_NOTE
from metagym.evaluation.scoring import Loop, Request, Scorer
from metagym.evaluation.store import open_store, write_report
from metagym.meta_episode import TaskQueue
from metagym.reflectors import ReflectorSpec, make_reflector
from metagym.runs import Measurement, MemoryStore, RecordStore, Role
from metagym.statistics import Estimate, mean_interval
from metagym.types import SCHEMA_VERSION, Record, Task, derive_seed


class StreamReport(Record):
    """What a stream showed. Blocks are counted in each seed's own order of families."""

    schema_version: Literal[1] = SCHEMA_VERSION
    arm: str
    config: EvaluationConfig
    """`num_steps` is the length of one family's block."""
    scripted: bool
    online: tuple[Estimate | None, ...]
    """Score of each meta-step's fresh tasks before they were reflected upon, shape `[blocks * num_steps]`."""
    online_mean: Estimate | None
    """Its mean over the stream: the primary endpoint."""
    first: Estimate | None
    """`sp_0` on the test tasks of all families."""
    retention: tuple[tuple[Estimate | None, ...], ...]
    """Entry `[i][j]`: test score, after block i, on the family of block j."""
    forgetting: Estimate | None
    """Test score on a family right after its block minus that at the end, averaged over all but the last family.
    Source: Chaudhry et al. 2018, "Riemannian walk for incremental learning", sec. 4 (with the score right after
    the block in place of the best one, which would be chosen by its own luck)."""
    final: Estimate | None
    """Test score at the end over all families."""
    notes: tuple[str, ...] = ()


def evaluate_stream(
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec | Mapping[str, Any] | str,
    *,
    config: EvaluationConfig,
    arm: str = "reflector",
    path: str | Path | None = None,
) -> StreamReport:
    """Run a reflector over streams of families, and return the report. With `path` it is kept in a run folder, and resumed from there.

    Raises:
        MetaGymError: as `evaluate` raises.
    """
    meta_env = meta_env_of(env)
    policy = make_reflector(reflector, demo=meta_env.make_demo_reflector)
    # Nothing is chosen in a stream, so that no validation tasks are needed.
    plan = Plan(meta_env, config.model_copy(update={"num_validation": 1, "replay": False}), {}, arm)
    manifest = plan.manifest(env, policy)
    manifest = manifest.model_copy(update={"evaluation": {**(manifest.evaluation or {}), "protocol": "stream"}})
    store: RecordStore = MemoryStore(manifest) if path is None else open_store(path, manifest)
    with contextlib.closing(store):
        scorer = Scorer(meta_env, store, {"test": plan.roles["test"]}, retries=config.retries)
        orders = {seed: _order(plan.config, seed) for seed in plan.config.seeds}
        loops = [_loop(plan, seed, order) for seed, order in orders.items()]
        with scorer.recording():
            learn(plan, meta_env, policy, scorer, loops)
            scorer.guard.open("test")
            scorer.measure(_tests(plan, loops))
        report = _report(plan, store, orders)
        write_report(store, report)
        return report


def _order(config: EvaluationConfig, seed: int) -> tuple[str, ...]:
    rng = np.random.default_rng(derive_seed("stream", config.task_seed, seed))
    return tuple(config.families[index] for index in rng.permutation(len(config.families)))


def _loop(plan: Plan, seed: int, order: Sequence[str]) -> Loop:
    num_steps = plan.config.num_steps
    return Loop(
        family=order[0],
        seed=seed,
        name=f"{plan.arm}/stream/{seed}",
        rng_seed=derive_seed("stream tasks", plan.config.task_seed, seed),
        families=plan.config.families,
        num_steps=num_steps * len(order),
        schedule=functools.partial(_in_order, order=order, num_steps=num_steps),
        family_of_step=[family for family in order for _ in range(num_steps)],
    )


def _in_order(queue: TaskQueue, *, order: Sequence[str], num_steps: int) -> Sequence[Task]:
    block = min(len(queue.batches) // num_steps, len(order) - 1)  # one batch is drawn ahead of the last step
    return queue.draw(families=[order[block]])


def _tests(plan: Plan, loops: Sequence[Loop]) -> Iterator[Request]:
    """Yield the tests of `sp_0` and of the prompt after each block, on the tasks of all families."""
    for loop in loops:
        for family, tasks in plan.test.items():
            yield Request(loop, family, Role.TEST_FIRST, 0, loop.prompts[0], tasks)
            for block in range(len(plan.config.families)):
                prompt = loop.prompts[(block + 1) * plan.config.num_steps]
                yield Request(loop, family, Role.STREAM_TEST, block, prompt, tasks)


def _report(plan: Plan, store: RecordStore, orders: Mapping[int, Sequence[str]]) -> StreamReport:
    config, table = plan.config, MeasurementTable(tuple(store.all(Measurement).values()))
    num_blocks = len(config.families)
    online = np.full((len(orders), num_blocks * config.num_steps), math.nan)
    retention = np.full((len(orders), num_blocks, num_blocks), math.nan)
    first = np.full((len(orders), num_blocks), math.nan)
    for row, (seed, order) in enumerate(orders.items()):
        for j, family in enumerate(order):
            first[row, j] = mean_of(table.get(family, seed, Role.TEST_FIRST, 0))
            for step in range(j * config.num_steps, (j + 1) * config.num_steps):
                online[row, step] = mean_of(table.get(family, seed, Role.ONLINE, step))
            for i in range(num_blocks):
                retention[row, i, j] = mean_of(table.get(family, seed, Role.STREAM_TEST, i))
    scripted = store.manifest.scripted or any(item.scripted for item in store.all(Measurement).values())
    return StreamReport(
        arm=plan.arm,
        config=config,
        scripted=scripted,
        online=_columns(online),
        online_mean=mean_interval(online.mean(axis=1)),
        first=mean_interval(first.mean(axis=1)),
        retention=tuple(_columns(retention[:, i]) for i in range(num_blocks)),
        forgetting=_forgetting(retention),
        final=mean_interval(retention[:, -1].mean(axis=1)),
        notes=(SCRIPTED_NOTE,) if scripted else (),
    )


def _forgetting(retention: NDArray[np.float64]) -> Estimate | None:
    """`retention` is of shape `[seeds, blocks, blocks]`."""
    num_blocks = retention.shape[1]
    if num_blocks < 2:
        return None
    lost = [retention[:, j, j] - retention[:, -1, j] for j in range(num_blocks - 1)]
    return mean_interval(np.mean(lost, axis=0))


def _columns(table: NDArray[np.float64]) -> tuple[Estimate | None, ...]:
    return tuple(mean_interval(column) for column in table.T)
