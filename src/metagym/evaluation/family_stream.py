"""Streams, one family after another: they measure the online score, and forgetting.

A meta-episode (seed) goes through all families, `num_steps` meta-steps each, in an order drawn per seed; the
prompt is carried on. The prompt after each family's block is tested on fixed tasks of all families.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from metagym.env import meta_env_of
from metagym.errors import ConfigError
from metagym.evaluation.comparison import verdict_between
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.controls import ArmKind
from metagym.evaluation.gains import MeasurementTable, mean_of, notes_of_missing, paired_difference
from metagym.evaluation.learning import learn
from metagym.evaluation.plan import Plan
from metagym.evaluation.protocol import Prepared
from metagym.evaluation.report import SCRIPTED_NOTE
from metagym.evaluation.scale import ScoreScale, scale_of
from metagym.evaluation.scoring import Loop, Request, Scorer
from metagym.evaluation.store import open_store, write_report
from metagym.meta_episode import TaskQueue
from metagym.reflectors import ReflectorSpec, make_reflector
from metagym.runs import Measurement, RecordStore, Role
from metagym.runs.manifest import differences_in_words
from metagym.statistics import Estimate, mean_interval, together
from metagym.statistics.intervals import Bounds
from metagym.types import SCHEMA_VERSION, Json, Record, Task, Text, Texts, derive_seed


class StreamReport(Record):
    """The report of a stream. Blocks are counted in each seed's own order of families."""

    schema_version: Literal[1] = SCHEMA_VERSION
    arm: Text
    kind: ArmKind = "method"
    config: EvaluationConfig
    """`num_steps` is the length of one family's block."""
    score_bounds: Bounds | None = None
    """The least and the greatest score: `score_range`, or the scores seen if outside. Older reports lack it."""
    measurement: dict[Text, Json] = {}
    """The measurement fingerprint. Older reports lack it."""
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
    online_by_seed: tuple[float | None, ...] = ()
    """The mean online score of each seed; None if a part of it is missing. Arms are compared by these."""
    notes: Texts = ()

    @property
    def scale(self) -> ScoreScale:
        """The bounds of the scores, at which all intervals of this report end."""
        if self.score_bounds is not None:
            return ScoreScale(*self.score_bounds)
        return scale_of(self.config, (score for score in self.online_by_seed if score is not None))


class StreamComparison(Record):
    """One stream against another by its online score: a positive difference speaks for `first`."""

    first: Text
    second: Text
    second_kind: ArmKind = "method"
    online: Estimate | None
    """Student's t over the per-seed differences; with several arms the intervals hold together."""
    verdict: Text


def evaluate_stream(
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec | Mapping[str, Any] | str,
    *,
    config: EvaluationConfig,
    arm: str = "reflector",
    kind: ArmKind = "method",
    path: str | Path | None = None,
) -> StreamReport:
    """Run a reflector over streams of families, and return the report; with `path` in a run folder, as `evaluate`.

    Raises:
        ConfigError: the config has test repetitions or a learning budget, which a stream has no use for; see also
            `evaluate`.
    """
    config.check_stream()
    meta_env = meta_env_of(env)
    plan, policy, _, manifest = prepare_stream(env, reflector, config, arm=arm, kind=kind)
    store = open_store(path, manifest)
    with contextlib.closing(store):
        scorer = Scorer(meta_env, store, {"test": plan.roles["test"]}, retries=config.retries)
        loops = [_loop(plan, seed) for seed in plan.config.seeds]
        with scorer.recording():
            learn(plan, meta_env, policy, scorer, loops)
            scorer.guard.open("test")
            scorer.measure(_tests(plan, loops))
        report = _report(plan, store, loops)
        write_report(store, report)
        return report


def prepare_stream(
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec | Mapping[str, Any] | str,
    config: EvaluationConfig,
    *,
    arm: str,
    kind: ArmKind,
) -> Prepared:
    """Return all that is decided before the first episode of a stream; see `evaluate_stream`."""
    meta_env = meta_env_of(env)
    policy = make_reflector(reflector, demo=meta_env.make_demo_reflector)
    # Nothing is chosen in a stream.
    plan = Plan(meta_env, config.model_copy(update={"num_validation": 0, "replay": False}), {}, arm, kind)
    manifest = plan.manifest(env, policy)
    evaluation = {**(manifest.evaluation or {}), "protocol": "stream"}
    return Prepared(plan, policy, None, manifest.model_copy(update={"evaluation": evaluation}))


def _loop(plan: Plan, seed: int) -> Loop:
    config, num_steps = plan.config, plan.config.num_steps
    rng = np.random.default_rng(derive_seed("stream", config.task_seed, seed))
    order = [config.families[index] for index in rng.permutation(len(config.families))]
    return Loop(
        family=order[0],
        seed=seed,
        name=f"{plan.arm}/stream/{seed}",
        rng_seed=derive_seed("stream tasks", config.task_seed, seed),
        families=config.families,
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


def _report(plan: Plan, store: RecordStore, loops: Sequence[Loop]) -> StreamReport:
    config, table = plan.config, MeasurementTable(store.all(Measurement).values())
    blocks = range(len(config.families))

    def scores(loop: Loop, role: Role, index: int) -> list[float]:
        families = loop.family_of_step[:: config.num_steps]
        return [mean_of(table.get(family, loop.seed, role, index)) for family in families]

    steps = range(len(blocks) * config.num_steps)
    online = np.array(
        [[mean_of(table.get(loop.family_at(step), loop.seed, Role.ONLINE, step)) for step in steps] for loop in loops]
    )
    first = np.array([scores(loop, Role.TEST_FIRST, 0) for loop in loops])
    retention = np.array([[scores(loop, Role.STREAM_TEST, block) for block in blocks] for loop in loops])
    # The score on each family right after its block, minus that at the end; the last family had no time to be lost.
    # They are paired by task, since an infrastructure error may leave out any.
    lost = np.array(
        [
            [
                paired_difference(*(table.get(family, loop.seed, Role.STREAM_TEST, at) for at in (block, blocks[-1])))
                for block, family in enumerate(loop.family_of_step[: -config.num_steps : config.num_steps])
            ]
            for loop in loops
        ]
    )
    scripted = store.manifest.scripted or any(item.scripted for item in store.all(Measurement).values())
    scale = scale_of(config, table.scores())
    num_test, num_blocks, k = config.num_test, len(blocks), config.episodes_per_step

    def score(values: NDArray[np.float64], num_episodes: int) -> Estimate | None:
        return mean_interval(values, resolution=scale.of_one_in(num_episodes), bounds=scale.of_scores)

    forgetting_scale = scale.of_one_in(num_test * max(1, num_blocks - 1))
    return StreamReport(
        arm=plan.arm,
        kind=plan.kind,
        config=config,
        score_bounds=scale.of_scores,
        measurement=store.manifest.measurement,
        scripted=scripted,
        online=tuple(score(column, k) for column in online.T),
        online_mean=score(online.mean(axis=1), k * len(steps)),
        first=score(first.mean(axis=1), num_test * num_blocks),
        retention=tuple(tuple(score(column, num_test) for column in retention[:, block].T) for block in blocks),
        forgetting=mean_interval(lost.mean(axis=1), resolution=forgetting_scale, bounds=scale.of_differences)
        if lost.size
        else None,
        final=score(retention[:, -1].mean(axis=1), num_test * num_blocks),
        online_by_seed=tuple(None if np.isnan(value) else float(value) for value in online.mean(axis=1)),
        notes=(
            *notes_of_missing(plan.arm, store.all(Measurement).values()),
            *([SCRIPTED_NOTE] if scripted else []),
        ),
    )


def compare_streams(reports: Sequence[StreamReport]) -> tuple[StreamComparison, ...]:
    """Compare the first stream with each other one by its online score, paired by seed; the intervals hold together.

    Raises:
        ConfigError: the streams have other seeds or families, or were measured differently (another actor, say).
    """
    first, *others = reports
    protocol = {"config": first.config.model_dump()}
    found, scale = {}, ScoreScale.joint(report.scale for report in reports)
    for number, other in enumerate(others):
        if {"config": other.config.model_dump()} != protocol:
            raise ConfigError(f"Expected {first.arm!r} and {other.arm!r} to be streams of one protocol, got two.")
        named = differences_in_words(first.measurement, other.measurement, "{} ({} and {})")
        if named and first.measurement and other.measurement:
            raise ConfigError(
                f"Expected {first.arm!r} and {other.arm!r} to be measured alike, but they differ in "
                f"{'; '.join(named)}. Run both streams in the same way."
            )
        pairs = np.array([first.online_by_seed, other.online_by_seed], dtype=np.float64)  # None becomes NaN
        resolution = scale.of_one_in(len(first.online) * first.config.episodes_per_step)
        found[number] = mean_interval(pairs[0] - pairs[1], resolution=resolution, bounds=scale.of_differences)
    together_found = together(found, bounds=scale.of_differences)
    return tuple(
        StreamComparison(
            first=first.arm,
            second=other.arm,
            second_kind=other.kind,
            online=together_found[number],
            verdict=verdict_between(
                first.arm,
                other.arm,
                together_found[number],
                largest=scale.of_differences[1],
                num_arms=len(others),
            ),
        )
        for number, other in enumerate(others)
    )
