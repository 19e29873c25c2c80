"""The ICT protocol: does a reflector help on tasks that it has never seen, and is it more than noise?

For each family and seed one meta-episode: N meta-steps of k fresh tasks give the prompts sp_0 to sp_N. Each is
scored on fixed validation tasks; the best (the earliest of equals), sp_0 afresh and the last one are scored
on fixed test tasks that chose nothing. Source: Shalev, Ding, Jamnik 2026, arXiv 2605.20477; the test set, the
replay and the intervals are ours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from metagym.disjointness import Guard
from metagym.env import MetaEnv
from metagym.errors import ApparatusError, ConfigError
from metagym.evaluation_config import EvaluationConfig
from metagym.evaluation_plan import Plan
from metagym.evaluation_report import EvaluationReport
from metagym.evaluation_store import EvaluationStore, MemoryStore, open_store, report_of
from metagym.measurements import Measurement, Role, measure
from metagym.meta_episode import MetaEpisode
from metagym.optimization import reflect_all
from metagym.reflector import Reflector, ReflectorSpec
from metagym.seeding import derive_seed
from metagym.specs import make_reflector
from metagym.types import Episode, MetaStep, Reflection, Task, Trajectory, Usage

CHUNK = 1_024
"""Episodes that are scored in one run of the engine: enough to keep it busy, few enough to hold in memory."""

__all__ = ["EvaluationConfig", "EvaluationReport", "evaluate"]


def evaluate(
    env: gymnasium.Env[Any, Any],
    reflector: ReflectorSpec | Mapping[str, Any] | str,
    *,
    config: EvaluationConfig | None = None,
    arm: str = "reflector",
    learn_from: Mapping[str, str] | None = None,
    path: str | Path | None = None,
) -> EvaluationReport:
    """Evaluate a reflector by the protocol in `config`, and return the report.

    `env` is a meta-environment; its `families` are evaluated where `config` names none. `arm` names what is
    evaluated: arms share tasks, never chance, so evaluating twice under two names is an A/A run.
    `learn_from` maps a family to another one that its prompts are learned on. With `path` everything
    is kept in a run folder; where that holds this evaluation already, unfinished, it is gone on with.

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
        ApparatusError: the run stopped; with `path`, calling again goes on.
    """
    meta_env = env.unwrapped
    if not isinstance(meta_env, MetaEnv):
        raise ConfigError(f"Expected a meta-environment, got {type(meta_env).__name__}.")
    policy = make_reflector(reflector, demo=meta_env.make_demo_reflector)
    plan = Plan(meta_env, config or EvaluationConfig(), dict(learn_from or {}), arm)
    manifest = plan.manifest(env, policy)
    store: EvaluationStore = MemoryStore(manifest) if path is None else open_store(path, manifest)
    with contextlib.closing(store):
        _Evaluation(plan, meta_env, policy, store).run()
        return report_of(store)


@dataclass
class _Loop:
    """One meta-episode: a family, a seed, and how far it is."""

    family: str
    seed: int
    name: str
    meta_episode: MetaEpisode
    prompts: list[str]
    history: list[MetaStep] = field(default_factory=list)
    reflection: Reflection | None = None


@dataclass(frozen=True)
class _Request:
    """A measurement that is to be made."""

    loop: _Loop
    role: Role
    index: int
    prompt: str
    tasks: Sequence[Task]

    def episodes(self) -> list[Episode]:
        # Each prompt has chance of its own: two that are equal are two samples, as in an A/A run.
        arm = f"{self.loop.name}/{self.role.value}"
        arm = f"{arm}-{self.index}" if self.role in (Role.VALIDATION, Role.REPLAY) else arm
        return self.loop.meta_episode.plan(self.prompt, self.tasks, arm=arm)


class _Evaluation:
    """Plays an evaluation: all meta-episodes side by side, so that the engine always has many episodes."""

    def __init__(self, plan: Plan, env: MetaEnv, reflector: Reflector, store: EvaluationStore) -> None:
        self.plan, self.config, self.env, self.store = plan, plan.config, env, store
        self.reflector = reflector
        self.guard = Guard(store, plan.roles)
        self.loops = [self._loop(family, seed) for seed in self.config.seeds for family in self.config.families]

    def run(self) -> None:
        before = self.env.record_to(self.guard)
        try:
            for index in range(self.config.num_steps):
                self._learn(index)
            if self.config.replay:
                self._measure(self._replays())
            self.guard.open("validation")
            chosen = self._choose()
            self.guard.open("test")
            self._measure(self._tests(chosen))
        finally:
            self.env.record_to(before)

    def _loop(self, family: str, seed: int) -> _Loop:
        update = {
            "families": (self.plan.learn_from[family],),
            "split": "train",
            "schedule": "fresh",
            "episodes_per_step": self.config.episodes_per_step,
        }
        name = f"{self.plan.arm}/{family}/{seed}"
        meta_episode = MetaEpisode(
            self.env.task_set,
            self.env.config.model_copy(update=update),
            rng=np.random.default_rng(derive_seed("meta-episode", self.config.task_seed, family, seed)),
            arm=name,
        )
        return _Loop(family, seed, name, meta_episode, [self.plan.first_prompt])

    def _learn(self, index: int) -> None:
        """Play one meta-step of each meta-episode, and let the reflector write the next prompts."""
        batches = [loop.meta_episode.episodes(loop.prompts[-1]) for loop in self.loops]
        self.guard.check((item.task for batch in batches for item in batch), "the reflector")
        played = iter(self._play([item for batch in batches for item in batch]))
        for loop, batch in zip(self.loops, batches, strict=True):
            trajectories = tuple(next(played) for _ in batch)
            meta_step = loop.meta_episode.finish(loop.prompts[-1], trajectories)
            loop.history.append(meta_step.model_copy(update={"reflection": loop.reflection}))
            online = measure(
                loop.family, loop.seed, Role.ONLINE, index=index, prompt=loop.prompts[-1], trajectories=trajectories
            )
            self._keep(online)
        logs = [_LoopLog(self.store, loop.name) for loop in self.loops]
        reflections = reflect_all(self.reflector, [loop.history for loop in self.loops], logs)
        for loop, reflection in zip(self.loops, reflections, strict=True):
            loop.reflection = reflection
            loop.prompts.append(self.env.check_prompt(reflection.prompt))

    def _replays(self) -> Iterator[_Request]:
        for loop in self.loops:
            for index, meta_step in enumerate(loop.history):
                tasks = [item.task for item in meta_step.trajectories]
                yield _Request(loop, Role.REPLAY, index, loop.prompts[index + 1], tasks)

    def _choose(self) -> list[int]:
        """Score every prompt on the validation tasks; return the number of the best, the earliest of equals."""
        requests = [
            _Request(loop, Role.VALIDATION, loop.prompts.index(prompt), prompt, self.plan.validation[loop.family])
            for loop in self.loops
            for prompt in dict.fromkeys(loop.prompts)
        ]
        self._measure(requests)
        chosen = []
        for loop in self.loops:
            means: list[float] = []
            for index, prompt in enumerate(loop.prompts):
                key = (loop.family, loop.seed, Role.VALIDATION.value, loop.prompts.index(prompt))
                measurement = self.store.recall_measurement(key)
                assert measurement is not None
                if index != measurement.index:  # the same prompt again: it was scored once
                    self._keep(measurement.model_copy(update={"index": index, "usage": Usage()}))
                means.append(-np.inf if measurement.mean is None else measurement.mean)
            if max(means) == -np.inf:
                raise ApparatusError(f"No validation score of {loop.name} is known: nothing can be chosen.")
            chosen.append(int(np.argmax(means)))
        return chosen

    def _tests(self, chosen: Sequence[int]) -> Iterator[_Request]:
        for loop, index in zip(self.loops, chosen, strict=True):
            tasks = self.plan.test[loop.family]
            for role, number in (
                (Role.TEST_CHOSEN, index),
                (Role.TEST_FIRST, 0),
                (Role.TEST_LAST, len(loop.prompts) - 1),
            ):
                yield _Request(loop, role, number, loop.prompts[number], tasks)

    def _measure(self, requests: Iterator[_Request] | Sequence[_Request]) -> None:
        """Make the measurements that are not known yet, many episodes at a time."""
        waiting: list[_Request] = []
        for request in requests:
            known = self.store.recall_measurement(
                (request.loop.family, request.loop.seed, request.role.value, request.index)
            )
            if known is None or None in known.scores:
                waiting.append(request)
            if sum(len(item.tasks) for item in waiting) >= CHUNK:
                self._measure_now(waiting)
                waiting = []
        self._measure_now(waiting)

    def _measure_now(self, requests: Sequence[_Request]) -> None:
        played = iter(self._play([episode for request in requests for episode in request.episodes()]))
        for request in requests:
            trajectories = tuple(next(played) for _ in request.tasks)
            self._keep(
                measure(
                    request.loop.family,
                    request.loop.seed,
                    request.role,
                    index=request.index,
                    prompt=request.prompt,
                    trajectories=trajectories,
                )
            )

    def _keep(self, measurement: Measurement) -> None:
        if self.store.recall_measurement(measurement.key) != measurement:
            self.store.record_measurement(measurement)

    def _play(self, episodes: Sequence[Episode]) -> list[Trajectory]:
        """Play the episodes; those that the apparatus failed on are played again, so often as the protocol says."""
        trajectories = list(self.env.play(episodes)) if episodes else []
        for _ in range(self.config.retries):
            failed = [index for index, item in enumerate(trajectories) if item.score is None]
            if not failed:
                break
            for index, again in zip(failed, self.env.play([episodes[i] for i in failed]), strict=True):
                trajectories[index] = again
        return trajectories


class _LoopLog:
    """The reflections of one meta-episode in the store of many."""

    def __init__(self, store: EvaluationStore, name: str) -> None:
        self._store, self._name = store, name

    def record_reflection(self, index: int, reflection: Reflection) -> None:
        self._store.record_reflection(index, reflection, arm=self._name)

    def recall_reflection(self, index: int) -> Reflection | None:
        return self._store.recall_reflection(index, arm=self._name)
