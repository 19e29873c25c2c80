"""The role of a task, which follows from a digest of its content: equal content has one role."""

from __future__ import annotations

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
    """Return `task` with its digest (by default its id) and the role that the digest gives."""
    content = task.digest or digest(task.id)
    return task.model_copy(update={"digest": content, "split": task.split or role_of(content)})
