"""Scoring: prompts of many meta-episodes on lists of tasks; each is played in its time only."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from metagym.budget import Ledger, spending_on
from metagym.env import MetaEnv
from metagym.errors import LeakError
from metagym.meta_episode import TaskQueue, episodes_on
from metagym.optional_attributes import extension_of
from metagym.rendering import first_failure
from metagym.rollout import Recorder
from metagym.runs import Measurement, RecordStore, Role, RunFolder, measure
from metagym.runs.earlier_use import keeping_model_calls
from metagym.runs.measurements import arm_of
from metagym.types import Episode, MetaStep, Reflection, Task, Trajectory

CHUNK = 1_024
"""Episodes that are scored in one run of the engine: enough to keep it busy, few enough to hold in memory."""


@dataclass
class Loop:
    """One meta-episode of an evaluation: the source of its tasks, and the prompts that it led to."""

    family: str
    """The family that it is reported under."""
    seed: int
    name: str
    """The arm of its episodes."""
    rng_seed: int
    families: tuple[str, ...]
    """The families that it learns on."""
    num_steps: int
    prompts: list[str] = field(default_factory=list)
    """`sp_0` to `sp_N`, once learning has ended."""
    batches: list[tuple[Task, ...]] = field(default_factory=list)
    """The tasks of each meta-step."""
    schedule: str | Callable[[TaskQueue], Sequence[Task]] = "fresh"
    family_of_step: Sequence[str] = ()
    """The family of each meta-step, if they differ (a stream)."""

    def family_at(self, index: int) -> str:
        """Return the family that meta-step `index` is reported under."""
        return self.family_of_step[index] if self.family_of_step else self.family


@dataclass(frozen=True)
class Request:
    """A measurement that is to be made."""

    loop: Loop
    family: str
    role: Role
    index: int
    prompt: str
    tasks: Sequence[Task]

    @property
    def key(self) -> tuple[str, int, str, int]:
        """The key of the measurement in a store."""
        return self.family, self.loop.seed, self.role.value, self.index

    def episodes(self) -> list[Episode]:
        """Return the episodes to play."""
        arm = arm_of(self.loop.name, self.role, self.index)
        run_seed = int(np.random.default_rng(self.loop.rng_seed).integers(2**31))  # as in the meta-episode
        return episodes_on(self.tasks, self.prompt, run_seed=run_seed, arm=arm, meta_step=self.loop.num_steps)


@contextlib.contextmanager
def raising_stops(env: MetaEnv) -> Iterator[None]:
    """Raise an error that no later episode can escape while the body runs, so that an outage is not a result."""
    before, env.player.raise_stops = env.player.raise_stops, True
    try:
        yield
    finally:
        env.player.raise_stops = before


def notes_of_failures(played: Sequence[Trajectory], place: str = "") -> list[str]:
    """Return a note if episodes failed for infrastructure reasons; `place` names the part of the work."""
    num_failed = sum(item.score is None for item in played)
    if not num_failed:
        return []
    return [
        f"{place}{num_failed} of {len(played)} episodes failed for infrastructure reasons and are left out. The first "
        f"failure: {first_failure(played)}."
    ]


class Guard:
    """A recorder that refuses episodes on the tasks of `roles` (validation, test) until the role is opened.

    It compares digests of content, not ids, and refuses any other task of that split as well. Every episode passes
    it, so that a reflector which plays tasks on its own is stopped, too.
    """

    def __init__(self, store: Recorder, roles: Mapping[str, Sequence[Task]]) -> None:
        self._store = store
        self._closed = set(roles)
        self._role_of = {task.digest: role for role, tasks in roles.items() for task in tasks}

    def count_in(self, ledger: Ledger) -> None:
        """Count the episodes that the store holds from earlier processes."""
        if (count_in := extension_of(self._store).count_in) is not None:
            count_in(ledger)

    def open(self, role: str) -> None:
        """Allow episodes on the tasks of that role: nothing learns from them or chooses by them any more."""
        self._closed.discard(role)

    def record_episode(self, trajectory: Trajectory) -> None:
        """Keep a finished episode that may be played now."""
        self._check(trajectory.task)
        self._store.record_episode(trajectory)

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of an episode that was played before and may be played now."""
        self._check(episode.task)
        return self._store.recall_episode(episode)

    def _check(self, task: Task) -> None:
        role = self._role_of.get(task.digest, task.split)
        if role in self._closed:
            raise LeakError(
                f"Expected the learner to see none of the {role} tasks; it plays {task.id!r}, whose content (digest "
                f"{task.digest}) is one of them. Take the tasks of each role from the splits of the task set, and let "
                "no reflector play these tasks on its own."
            )


class Scorer:
    """Plays the measurements that the store does not hold, of all meta-episodes together, and keeps them there."""

    def __init__(self, env: MetaEnv, store: RecordStore, roles: Mapping[str, Sequence[Task]], *, retries: int) -> None:
        self.env, self.store, self._retries = env, store, retries
        self._measuring = env
        self.guard = Guard(store, roles)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Let all episodes pass the guard to the store while the body runs; a run folder keeps model calls too."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.env.record_to, self.env.record_to(self.guard))
            rng = np.random.default_rng(0)  # measurements draw no tasks
            self._measuring = self.env.branch(ledger=self.env.ledger, rng=rng, retries=self._retries)
            stack.enter_context(raising_stops(self._measuring))  # the store keeps the episodes that were played
            stack.enter_context(self.env.ledger.open())
            if isinstance(self.store, RunFolder):
                stack.enter_context(keeping_model_calls(self.store.path, self.env.ledger))
            yield

    def measure(self, requests: Iterable[Request]) -> None:
        """Make the measurements that are not known yet, or are known of another prompt."""
        waiting: list[Request] = []
        for request in requests:
            known = self.store.get(Measurement, request.key)
            if known is None or None in known.scores or known.prompt != request.prompt:
                waiting.append(request)
            if sum(len(item.tasks) for item in waiting) >= CHUNK:
                self._measure_now(waiting)
                waiting = []
        self._measure_now(waiting)

    def _measure_now(self, requests: Sequence[Request]) -> None:
        with spending_on("measurement"):
            episodes = [episode for request in requests for episode in request.episodes()]
            played = iter(self._measuring.play(episodes) if episodes else ())
        for request in requests:
            key = (request.family, request.loop.seed, request.role)
            trajectories = tuple(itertools.islice(played, len(request.tasks)))
            self.keep(measure(*key, index=request.index, prompt=request.prompt, trajectories=trajectories))

    def keep(self, measurement: Measurement) -> None:
        """Keep a measurement that the store does not hold yet."""
        if self.store.get(Measurement, measurement.key) != measurement:
            self.store.put(measurement.key, measurement)


class LoopLog:
    """The reflections of one meta-episode in the store of many. Its meta-steps are kept as measurements."""

    def __init__(self, store: RecordStore, name: str) -> None:
        self._store, self._name = store, name

    def put(self, key: Hashable, record: MetaStep | Reflection) -> None:
        """Keep a reflection."""
        if isinstance(record, Reflection):
            self._store.put(self._key(key), record)

    def get(self, kind: type[Reflection], key: tuple[str, int]) -> Reflection | None:
        """Return the reflection of that meta-step, or None."""
        return self._store.get(kind, self._key(key))

    def _key(self, key: Hashable) -> tuple[str, int]:
        _, index = cast("tuple[str, int]", key)
        return self._name, index
