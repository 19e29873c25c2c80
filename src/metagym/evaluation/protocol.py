"""The ICT protocol: does a reflector help on tasks that it has never seen, and is it more than noise?

Each family and seed has one meta-episode: N meta-steps of k fresh tasks give the prompts sp_0 to sp_N. Each prompt
is scored on fixed validation tasks. The best one (the earliest of equals), sp_0 and the last one are then scored on
fixed test tasks that selected nothing. Source: Shalev, Ding, Jamnik 2026, arXiv 2605.20477; the test set, the
replay and the intervals are ours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from metagym.budget import Budget
from metagym.env import meta_env_of
from metagym.errors import InfrastructureError
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.controls import ArmKind
from metagym.evaluation.learning import learn, learn_within_budget
from metagym.evaluation.plan import Plan
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.scoring import Loop, Request, Scorer
from metagym.evaluation.seen_kinds import on_seen_kinds
from metagym.evaluation.store import open_store, report_of
from metagym.optimizers import InTurn, Optimizer
from metagym.reflectors import Reflector, ReflectorSpec, make_reflector
from metagym.runs import Manifest, Measurement, RecordStore, Role
from metagym.types import Usage, derive_seed


def evaluate(
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec | Mapping[str, Any] | str,
    *,
    config: EvaluationConfig | None = None,
    arm: str = "reflector",
    kind: ArmKind = "method",
    learn_from: Mapping[str, str] | None = None,
    path: str | Path | None = None,
    optimizer: Optimizer | None = None,
) -> EvaluationReport:
    """Evaluate a reflector by the protocol in `config`, and return the report.

    `env` is a meta-environment; its `families` are evaluated if `config` names no families. Arms share tasks and no
    model noise, so evaluating twice under two names of `arm` is an A/A run. `kind` says whether the arm is a method or
    a control. `learn_from` maps a family to another one that its prompts are learned on. With `path` everything is kept
    in a run folder; if the folder already holds this evaluation, unfinished, it is resumed. With an `optimizer`, or a
    `learning_budget` in the config, each meta-episode learns within that budget; see `metagym.optimizers`.

    >>> import gymnasium, metagym
    >>> from metagym.envs.gates.demo import GatesDemoReflector
    >>> config = EvaluationConfig(families=("law-0007",), num_steps=4, num_seeds=3, num_validation=10, num_test=10)
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     report = evaluate(env, GatesDemoReflector(), config=config)
    >>> report.overall.gain.mean > 0.5, report.scripted
    (True, True)

    Raises:
        ConfigError, TasksExhaustedError: the protocol cannot be played; nothing was.
        LeakError: the learner or the choice has seen a validation or test task.
        RunFolderError: the folder cannot be used, or holds something else.
        InfrastructureError: the run stopped; with `path`, calling again resumes it.
    """
    meta_env = meta_env_of(env)
    about: dict[str, Any] = {"arm": arm, "kind": kind, "learn_from": learn_from, "optimizer": optimizer}
    prepared = prepare_evaluation(env, reflector, config or EvaluationConfig(), **about)
    plan, policy, optimizer, manifest = prepared
    config, store = plan.config, open_store(path, manifest)
    with contextlib.closing(store):
        scorer = Scorer(meta_env, store, plan.roles, retries=config.retries)
        loops = [_loop(plan, family, seed) for seed in config.seeds for family in plan.config.families]
        with scorer.recording():
            if optimizer is None:
                learn(plan, meta_env, policy, scorer, loops)
            else:
                learn_within_budget(plan, meta_env, optimizer, policy, scorer, loops)
            if config.replay:
                scorer.measure(_replays(loops))
                scorer.measure(request for loop in loops for request in on_seen_kinds(meta_env.task_set, loop))
            scorer.guard.open("validation")
            if config.num_validation:
                scorer.measure(_validations(plan, loops, store))
                chosen = [choose(scorer, loop) for loop in loops]
            else:
                chosen = [config.num_steps for _ in loops]
            scorer.guard.open("test")
            scorer.measure(_tests(plan, loops, chosen))
            if not config.num_validation:
                _keep_last(scorer, loops)
        return report_of(store)


class Prepared(NamedTuple):
    """An evaluation of which nothing was played yet."""

    plan: Plan
    reflector: Reflector
    optimizer: Optimizer | None
    manifest: Manifest


def prepare_evaluation(
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec | Mapping[str, Any] | str,
    config: EvaluationConfig,
    *,
    arm: str,
    kind: ArmKind,
    learn_from: Mapping[str, str] | None,
    optimizer: Optimizer | None,
) -> Prepared:
    """Return all that is decided before the first episode; see `evaluate`."""
    meta_env = meta_env_of(env)
    policy = make_reflector(reflector, demo=meta_env.make_demo_reflector)
    if optimizer is not None or config.learning_budget is not None:
        whole = Budget(episodes=config.num_steps * config.episodes_per_step)
        config = config.model_copy(update={"replay": False, "learning_budget": config.learning_budget or whole})
        optimizer = optimizer or InTurn(config.num_steps)
    plan = Plan(meta_env, config, learn_from or {}, arm, kind)
    return Prepared(plan, policy, optimizer, plan.manifest(env, policy, optimizer))


def _loop(plan: Plan, family: str, seed: int) -> Loop:
    return Loop(
        family=family,
        seed=seed,
        name=f"{plan.arm}/{family}/{seed}",
        rng_seed=derive_seed("meta-episode", plan.config.task_seed, family, seed),
        families=(plan.learn_from[family],),
        num_steps=plan.config.num_steps,
    )


def _replays(loops: Sequence[Loop]) -> Iterator[Request]:
    for loop in loops:
        for index, tasks in enumerate(loop.batches):
            yield Request(loop, loop.family, Role.REPLAY, index, loop.prompts[index + 1], tasks)


def _validations(plan: Plan, loops: Sequence[Loop], store: RecordStore) -> Iterator[Request]:
    """Yield the requests of the choice. A choice that led to a score stays: scores that failed then stay missing."""
    known = store.all(Measurement)
    chosen = [item for item in known.values() if item.role is Role.TEST_CHOSEN and item.mean is not None]
    tested = {(item.family, item.seed) for item in chosen}
    for loop in loops:
        for prompt in dict.fromkeys(loop.prompts):
            request = Request(
                loop,
                loop.family,
                Role.VALIDATION,
                loop.prompts.index(prompt),
                prompt,
                plan.validation[loop.family],
            )
            before = known.get(request.key)
            if (loop.family, loop.seed) not in tested or before is None or before.prompt != prompt:
                yield request


def choose(scorer: Scorer, loop: Loop) -> int:
    """Return the number of the prompt with the best validation score, the earliest of equals.

    The prompts are compared on the tasks on which all of them have a score; a prompt without any score is not chosen.
    """
    scores: list[tuple[float | None, ...]] = []
    for index, prompt in enumerate(loop.prompts):
        key = (loop.family, loop.seed, Role.VALIDATION.value, loop.prompts.index(prompt))
        measurement = scorer.store.get(Measurement, key)
        assert measurement is not None
        if index != measurement.index:  # the same prompt again: it was scored once
            scorer.keep(measurement.model_copy(update={"index": index, "usage": Usage()}))
        scores.append(measurement.scores)
    table = np.array(scores, dtype=np.float64)  # None becomes NaN
    is_scored = np.isfinite(table).any(axis=1)
    shared = np.isfinite(table[is_scored]).all(axis=0)
    if not is_scored.any() or not shared.any():
        raise InfrastructureError(
            f"Expected a validation task of {loop.name} that was scored under each prompt, got none: too many episodes "
            "failed. The same command plays them again."
        )
    return int(np.argmax(np.where(is_scored, table[:, shared].mean(axis=1), -np.inf)))


def _tests(plan: Plan, loops: Sequence[Loop], chosen: Sequence[int]) -> Iterator[Request]:
    for loop, index in zip(loops, chosen, strict=True):
        numbers = {Role.TEST_CHOSEN: index, Role.TEST_FIRST: 0}
        if plan.config.num_validation:
            numbers[Role.TEST_LAST] = len(loop.prompts) - 1
        for role, number in numbers.items():
            tasks = plan.test[loop.family] * plan.config.test_repetitions
            yield Request(loop, loop.family, role, number, loop.prompts[number], tasks)


def _keep_last(scorer: Scorer, loops: Sequence[Loop]) -> None:
    """Keep the scores of the chosen prompt as those of the last one: it is the last one, and is tested once."""
    for loop in loops:
        key = (loop.family, loop.seed, Role.TEST_CHOSEN.value, len(loop.prompts) - 1)
        measurement = scorer.store.get(Measurement, key)
        assert measurement is not None
        scorer.keep(measurement.model_copy(update={"role": Role.TEST_LAST, "usage": Usage()}))
