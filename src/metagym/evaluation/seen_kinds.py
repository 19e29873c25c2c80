"""Fresh tasks of the kinds that a batch had: an honest learner of a few kinds gains on them, a memoriser does not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from metagym.evaluation.scoring import Loop, Request
from metagym.runs import Role
from metagym.tasks import MAX_REJECTIONS, TaskSet, with_role
from metagym.types import Task, derive_seed


def on_seen_kinds(task_set: TaskSet, loop: Loop) -> Iterator[Request]:
    """Yield, for each reflection, the scores before and after it on fresh training tasks of its batch's kinds.

    No batch of the loop holds their contents. Nothing is yielded if the batch's tasks name no kind (`Task.kind`), or
    if no such task of one of its kinds is left; the report counts these reflections.
    """
    rng = np.random.default_rng(derive_seed("seen kinds", loop.rng_seed))
    seen = {task.digest for batch in loop.batches for task in batch}
    used: set[str] = set()
    for index, batch in enumerate(loop.batches):
        found = [_another(task_set, task, seen, used, rng) for task in batch if task.kind]
        tasks = [task for task in found if task is not None]
        if tasks and len(tasks) == len(found):
            for role, number in ((Role.KINDS_BEFORE, index), (Role.KINDS_AFTER, index + 1)):
                yield Request(loop, loop.family, role, index, loop.prompts[number], tasks)


def _another(task_set: TaskSet, like: Task, seen: set[str], used: set[str], rng: np.random.Generator) -> Task | None:
    """Return a fresh task of the same family, role and kind, not `seen` before; None without such a task."""
    place = (like.split, like.kind)
    for task in map(with_role, itertools.islice(task_set.candidates(like.family, rng), MAX_REJECTIONS)):
        if (task.split, task.kind) == place and task.digest not in seen and task.id not in used:
            used.add(task.id)
            return task
    return None
