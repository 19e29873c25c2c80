"""Notice which fields of `task` a reflector in Python reads: id, family, split and seed can give an answer away.

No model sees a task. A Python reflector has the whole record, so that it can replay; the fields it reads are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from metagym.reflectors.method import ReflectionMethod
from metagym.reflectors.protocol import Reflector, Replay
from metagym.types import MetaStep, Task, Texts, Trajectory

T = TypeVar("T")

_READ: ContextVar[set[str] | None] = ContextVar("task fields that were read", default=None)
_FIELDS = frozenset(Task.model_fields)


class WatchedTask(Task):
    """A task that notes which of its fields are read while `noting_task_reads` is open."""

    def __getattribute__(self, name: str) -> object:
        if name in _FIELDS or name == "__dict__":  # a serializer reads the whole mapping
            read = _READ.get()
            if read is not None:
                read.update(_FIELDS if name == "__dict__" else (name,))
        return super().__getattribute__(name)


def watched(meta_step: MetaStep) -> MetaStep:
    """Return the meta-step with watched tasks."""
    return meta_step.model_copy(update={"trajectories": tuple(map(_watched, meta_step.trajectories))})


class TaskWatch:
    """Shows a reflector the history of one loop with watched tasks, and notes the fields that it reads.

    The library's methods are not watched: they show no task to their model.
    """

    def __init__(self, reflector: Reflector) -> None:
        self._is_on = not isinstance(reflector, ReflectionMethod)
        self._seen: list[MetaStep] = []

    def __call__(
        self, history: Sequence[MetaStep], replay: Replay, reflect: Callable[[Sequence[MetaStep], Replay], T]
    ) -> tuple[T, Texts]:
        """Return the result of `reflect` on the history, with `replay` for rollouts, and the fields that it read."""
        if not self._is_on:
            return reflect(tuple(history), replay), ()

        async def watched_replay(
            prompts: Sequence[str], task_ids: Sequence[str], *, repetitions: int = 1
        ) -> tuple[MetaStep, ...]:
            return tuple(map(watched, await replay(prompts, task_ids, repetitions=repetitions)))

        self._seen.extend(map(watched, history[len(self._seen) :]))
        with noting_task_reads() as read:
            return reflect(tuple(self._seen), watched_replay), tuple(sorted(read))


@contextmanager
def noting_task_reads() -> Iterator[set[str]]:
    """Give a set, to which the fields of watched tasks are added that the code inside reads."""
    read: set[str] = set()
    token = _READ.set(read)
    try:
        yield read
    finally:
        _READ.reset(token)


def _watched(trajectory: Trajectory) -> Trajectory:
    task = WatchedTask.model_construct(**dict(trajectory.task))
    return trajectory.model_copy(update={"episode": trajectory.episode.model_copy(update={"task": task})})
