"""What protocols are made of: meta-steps of many meta-episodes at once, and prompts scored on lists of tasks."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from metagym.budget import spending_on
from metagym.env import MetaEnv
from metagym.evaluation.disjointness import Guard
from metagym.meta_episode import MetaEpisode
from metagym.optimizers.loop import reflect_all
from metagym.reflectors import Reflector
from metagym.runs import Measurement, RecordStore, Role, RunFolder, measure
from metagym.runs.model_calls import keeping_model_calls
from metagym.types import Episode, MetaStep, Reflection, Task, Trajectory

CHUNK = 1_024
"""Episodes that are scored in one run of the engine: enough to keep it busy, few enough to hold in memory."""


@dataclass
class Loop:
    """One meta-episode: a family, a seed, and how far it is."""

    family: str
    seed: int
    name: str
    meta_episode: MetaEpisode
    prompts: list[str]
    history: list[MetaStep] = field(default_factory=list)
    reflection: Reflection | None = None


@dataclass(frozen=True)
class Request:
    """A measurement that is to be made."""

    loop: Loop
    family: str
    role: Role
    index: int
    prompt: str
    tasks: Sequence[Task]

    def episodes(self) -> list[Episode]:
        """Return the episodes that are to be played."""
        # Each prompt has chance of its own: two that are equal are two samples, as in an A/A run.
        arm = f"{self.loop.name}/{self.role.value}"
        arm = f"{arm}-{self.index}" if self.role in (Role.VALIDATION, Role.REPLAY, Role.STREAM_TEST) else arm
        return self.loop.meta_episode.episodes_on(self.tasks, self.prompt, arm=arm)


class Scorer:
    """Plays meta-steps and measurements, and keeps them; what the store holds already is taken from it.

    All meta-episodes go side by side, so that the engine always has many episodes in hand.
    """

    def __init__(self, env: MetaEnv, store: RecordStore, roles: Mapping[str, Sequence[Task]], *, retries: int) -> None:
        self.env, self.store, self._retries = env, store, retries
        self.guard = Guard(store, roles)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Let all episodes pass the guard to the store while the body runs; a run folder keeps model calls too."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.env.record_to, self.env.record_to(self.guard))
            stack.enter_context(self.env.ledger.open())
            if isinstance(self.store, RunFolder):
                stack.enter_context(keeping_model_calls(self.store.path, self.env.ledger))
            yield

    def learn(self, loops: Sequence[Loop], index: int) -> None:
        """Play one meta-step of each meta-episode under its last prompt."""
        batches = [loop.meta_episode.episodes(loop.prompts[-1]) for loop in loops]
        self.guard.check((item.task for batch in batches for item in batch), "the reflector")
        played = iter(self.play([item for batch in batches for item in batch]))
        for loop, batch in zip(loops, batches, strict=True):
            trajectories = tuple(next(played) for _ in batch)
            meta_step = loop.meta_episode.finish(loop.prompts[-1], trajectories)
            loop.history.append(meta_step.model_copy(update={"reflection": loop.reflection}))
            prompt = loop.prompts[-1]
            self.keep(
                measure(loop.family, loop.seed, Role.ONLINE, index=index, prompt=prompt, trajectories=trajectories)
            )

    def reflect(self, reflector: Reflector, loops: Sequence[Loop]) -> None:
        """Let the reflector write the next prompt of each meta-episode."""
        replays = [functools.partial(self.env.replay_async, meta_episode=loop.meta_episode) for loop in loops]
        histories, names = [loop.history for loop in loops], [loop.name for loop in loops]
        reflections = reflect_all(reflector, histories, self.store, names=names, replays=replays)
        for loop, reflection in zip(loops, reflections, strict=True):
            loop.reflection = reflection
            loop.prompts.append(self.env.check_prompt(reflection.prompt))

    def measure(self, requests: Iterable[Request]) -> None:
        """Make the measurements that are not known yet, many episodes at a time."""
        waiting: list[Request] = []
        for request in requests:
            key = (request.family, request.loop.seed, request.role.value, request.index)
            known = self.store.get(Measurement, key)
            if known is None or None in known.scores:
                waiting.append(request)
            if sum(len(item.tasks) for item in waiting) >= CHUNK:
                self._measure_now(waiting)
                waiting = []
        self._measure_now(waiting)

    def _measure_now(self, requests: Sequence[Request]) -> None:
        with spending_on("measurement"):
            played = iter(self.play([episode for request in requests for episode in request.episodes()]))
        for request in requests:
            trajectories = tuple(next(played) for _ in request.tasks)
            self.keep(
                measure(
                    request.family,
                    request.loop.seed,
                    request.role,
                    index=request.index,
                    prompt=request.prompt,
                    trajectories=trajectories,
                )
            )

    def keep(self, measurement: Measurement) -> None:
        """Keep a measurement that the store does not hold yet."""
        if self.store.get(Measurement, measurement.key) != measurement:
            self.store.put(measurement.key, measurement)

    def play(self, episodes: Sequence[Episode]) -> list[Trajectory]:
        """Play the episodes; those that the apparatus failed on are played again, so often as the protocol says."""
        trajectories = list(self.env.play(episodes)) if episodes else []
        for _ in range(self._retries):
            failed = [index for index, item in enumerate(trajectories) if item.score is None]
            if not failed:
                break
            for index, again in zip(failed, self.env.play([episodes[i] for i in failed]), strict=True):
                trajectories[index] = again
        return trajectories
