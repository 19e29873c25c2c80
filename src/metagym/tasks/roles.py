"""The role of a task, which follows from a digest of its content: equal content has one role."""

from __future__ import annotations

from collections.abc import Iterable

from metagym.errors import ConfigError, UnknownNameError
from metagym.types import Task, digest

ROLES = ("train", "validation", "test")
ROLE_SHARES = (0.6, 0.2, 0.2)


def role_of(content_digest: str) -> str:
    """Return the role of a content; the roles divide all contents in the shares 60 : 20 : 20."""
    position = int(digest(["role", content_digest], length=12), 16) / 16**12
    if position < ROLE_SHARES[0]:
        return "train"
    return "validation" if position < ROLE_SHARES[0] + ROLE_SHARES[1] else "test"


def with_role(task: Task) -> Task:
    """Return `task` with its digest (by default its id) and the role that the digest gives, unless it has them."""
    if task.digest and task.split:
        return task
    content = task.digest or digest(task.id)
    return task.model_copy(update={"digest": content, "split": task.split or role_of(content)})


def tasks_by_id(tasks: Iterable[Task]) -> dict[str, Task]:
    """Return the tasks with their roles, by id.

    Raises:
        ConfigError: two tasks have one id, a split is neither a role nor the task's source, or equal content has two
            roles.
    """
    found: dict[str, Task] = {}
    contents: dict[str, Task] = {}
    for given in tasks:
        if not isinstance(given, Task):
            raise ConfigError(
                f"Expected tasks of the class metagym.Task, got {given!r:.80}. Write metagym.Task(id=..., family=..., "
                "seed=...), or use metagym.TaskSet.from_rows for rows of questions."
            )
        task = with_role(given)
        if task.id in found:
            raise ConfigError(f"Expected each task to have its own id, got {task.id!r} twice.")
        if task.split not in (*ROLES, task.source):
            raise UnknownNameError.of(f"split of the task {task.id!r}", task.split, ROLES)
        other = contents.setdefault(task.digest, task) if task.split in ROLES else task
        if other.split != task.split:
            raise ConfigError(
                f"Expected one role for equal content, got {other.id!r} in {other.split!r} and {task.id!r} in "
                f"{task.split!r}, with one digest. Learning and measurement would share a task. Remove one of them."
            )
        found[task.id] = task
    return found
