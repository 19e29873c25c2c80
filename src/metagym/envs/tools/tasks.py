"""The tasks by family: the APIs and their combinations, and the variants of each."""

from __future__ import annotations

from metagym.envs.tools.benchmark import VARIANTS, load_tasks
from metagym.tasks import ListedTaskSet
from metagym.types import Task


def tools_task_set() -> ListedTaskSet:
    """Return all tasks that can be solved. Each variant is a group of families; `base` has those without a variant."""
    tasks = [
        Task(id=task.id, family=task.family, seed=int(task.id.rpartition("_")[2]), digest=task.content)
        for task in load_tasks().values()
        if task.is_solvable
    ]
    families = sorted({task.family for task in tasks})
    groups = {
        variant or "base": tuple(name for name in families if name.partition("/")[2] == variant) for variant in VARIANTS
    }
    return ListedTaskSet(tasks, groups=groups)
