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
from typing import Any

import gymnasium
import numpy as np

from metagym.budget import Budget
from metagym.env import MetaEnv, meta_env_of
from metagym.errors import InfrastructureError
from metagym.evaluation.arms import ArmKind
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.learning import learn, learn_within_budget
from metagym.evaluation.plan import Plan
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.scoring import Loop, Request, Scorer
from metagym.evaluation.store import open_store, report_of
from metagym.optimizers import InTurn, Optimizer
from metagym.reflectors import Reflector, ReflectorSpec, make_reflector
from metagym.runs import Measurement, MemoryStore, RecordStore, Role
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

    `env` is a meta-environment; its `families` are evaluated if `config` names none. `arm` names what is
    evaluated: arms share tasks and no model noise, so evaluating twice under two names is an A/A run. `kind` says
    whether it is a method or a control; figures and reports draw them apart.
    `learn_from` maps a family to another one that its prompts are learned on. With `path` everything
    is kept in a run folder; if the folder already holds this evaluation, unfinished, it is resumed.
    With an `optimizer`, or a `learning_budget` in the config, each meta-episode learns within that budget; see
    `metagym.optimizers`.

    >>> import gymnasium, metagym
    >>> from metagym.envs.gates.demo import GatesDemoReflector
    >>> config = EvaluationConfig(families=("law-0007",), num_steps=4, num_seeds=3, num_validation=10, num_test=10)
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     report = evaluate(env, GatesDemoReflector(), config=config)
    >>> report.overall.gain.mean > 0.5, report.scripted
    (True, True)

    Raises:
        ConfigError, TasksExhaustedError: the protocol cannot be played; nothing was.
        LeakError: a validation or test task was seen by what learns or chooses.
        RunFolderError: the folder cannot be used, or holds something else.
        InfrastructureError: the run stopped; with `path`, calling again goes on.
    """
    meta_env = meta_env_of(env)
    policy = make_reflector(reflector, demo=meta_env.make_demo_reflector)
    config = config or EvaluationConfig()
    if optimizer is not None or config.learning_budget is not None:
        config = config.model_copy(update={"replay": False, "learning_budget": config.learning_budget or Budget()})
        optimizer = optimizer or InTurn(config.num_steps)
    plan = Plan(meta_env, config, dict(learn_from or {}), arm, kind)
    manifest = plan.manifest(env, policy, optimizer)
    store: RecordStore = MemoryStore(manifest) if path is None else open_store(path, manifest)
    with contextlib.closing(store):
        _Evaluation(plan, meta_env, policy, store, optimizer).run()
        return report_of(store)


class _Evaluation:
    """Plays an evaluation: all meta-episodes side by side, so that the engine always has many episodes."""

    def __init__(
        self, plan: Plan, env: MetaEnv, reflector: Reflector, store: RecordStore, optimizer: Optimizer | None
    ) -> None:
        self.optimizer = optimizer
        self.plan, self.config, self.env, self.store = plan, plan.config, env, store
        self.reflector = reflector
        self.scorer = Scorer(env, store, plan.roles, retries=plan.config.retries)
        self.loops = [self._loop(family, seed) for seed in self.config.seeds for family in self.config.families]

    def run(self) -> None:
        with self.scorer.recording():
            if self.optimizer is not None:
                learn_within_budget(self.plan, self.env, self.optimizer, self.reflector, self.scorer, self.loops)
            else:
                learn(self.plan, self.env, self.reflector, self.scorer, self.loops)
            if self.config.replay:
                self.scorer.measure(self._replays())
            self.scorer.guard.open("validation")
            chosen = self._choose()
            self.scorer.guard.open("test")
            self.scorer.measure(self._tests(chosen))

    def _loop(self, family: str, seed: int) -> Loop:
        return Loop(
            family=family,
            seed=seed,
            name=f"{self.plan.arm}/{family}/{seed}",
            rng_seed=derive_seed("meta-episode", self.config.task_seed, family, seed),
            families=(self.plan.learn_from[family],),
            num_steps=self.config.num_steps,
        )

    def _replays(self) -> Iterator[Request]:
        for loop in self.loops:
            for index, tasks in enumerate(loop.batches):
                yield Request(loop, loop.family, Role.REPLAY, index, loop.prompts[index + 1], tasks)

    def _choose(self) -> list[int]:
        """Score every prompt on the validation tasks; return the number of the best, the earliest of equals."""
        requests = [
            Request(loop, family, Role.VALIDATION, loop.prompts.index(prompt), prompt, self.plan.validation[family])
            for loop in self.loops
            for family in [loop.family]
            for prompt in dict.fromkeys(loop.prompts)
        ]
        self.scorer.measure(requests)
        chosen = []
        for loop in self.loops:
            means: list[float] = []
            for index, prompt in enumerate(loop.prompts):
                key = (loop.family, loop.seed, Role.VALIDATION.value, loop.prompts.index(prompt))
                measurement = self.store.get(Measurement, key)
                assert measurement is not None
                if index != measurement.index:  # the same prompt again: it was scored once
                    self.scorer.keep(measurement.model_copy(update={"index": index, "usage": Usage()}))
                means.append(-np.inf if measurement.mean is None else measurement.mean)
            if max(means) == -np.inf:
                raise InfrastructureError(f"No validation score of {loop.name} is known: nothing can be chosen.")
            chosen.append(int(np.argmax(means)))
        return chosen

    def _tests(self, chosen: Sequence[int]) -> Iterator[Request]:
        for loop, index in zip(self.loops, chosen, strict=True):
            tasks = self.plan.test[loop.family]
            for role, number in (
                (Role.TEST_CHOSEN, index),
                (Role.TEST_FIRST, 0),
                (Role.TEST_LAST, len(loop.prompts) - 1),
            ):
                yield Request(loop, loop.family, role, number, loop.prompts[number], tasks)
