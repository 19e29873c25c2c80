"""Keeps what measures apart from what learns: no validation or test task is seen before its time.

It compares digests of content, not ids, and it sits where all episodes pass, so that a reflector which
plays tasks on its own is caught as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from metagym.errors import LeakError
from metagym.types import Episode, Task, Trajectory


class EpisodeStore(Protocol):
    """Keeps episodes; a run folder is one."""

    def record_episode(self, trajectory: Trajectory) -> None:
        """Keep a finished episode."""
        ...

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of an episode that was played before."""
        ...


class Guard:
    """A recorder that refuses episodes on tasks whose time has not come.

    `roles` maps `validation` and `test` to their tasks. Until a role is opened, neither these tasks may be
    played nor any other whose content has that role.
    """

    def __init__(self, store: EpisodeStore, roles: Mapping[str, Sequence[Task]]) -> None:
        self._store = store
        self._closed = set(roles)
        self._role_of = {task.digest: role for role, tasks in roles.items() for task in tasks}

    def open(self, role: str) -> None:
        """Let the tasks of that role be played: what follows neither learns from them nor chooses by them."""
        self._closed.discard(role)

    def close(self, role: str) -> None:
        """Refuse the tasks of that role again: learning goes on."""
        self._closed.add(role)

    def check(self, tasks: Iterable[Task], doing: str) -> None:
        """Make sure that no task is one that measures later.

        Raises:
            LeakError: one is.
        """
        for task in tasks:
            role = self._role_of.get(task.digest, task.split)
            if role in self._closed:
                raise LeakError(
                    f"Expected {doing} to see none of the {role} tasks; it plays {task.id!r}, whose content (digest "
                    f"{task.digest}) is one of them. Take the tasks of each role from the task set's splits, and let "
                    "no reflector play tasks of its own from them."
                )

    def record_episode(self, trajectory: Trajectory) -> None:
        """Keep a finished episode that may be played now."""
        self.check([trajectory.task], "what learns or chooses")
        self._store.record_episode(trajectory)

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of an episode that was played before and may be played now."""
        self.check([episode.task], "what learns or chooses")
        return self._store.recall_episode(episode)


def check_disjoint(roles: Mapping[str, Sequence[Task]]) -> None:
    """Make sure that no content stands in two roles.

    Raises:
        LeakError: one does.
    """
    seen: dict[str, str] = {}
    for role, tasks in roles.items():
        for task in tasks:
            other = seen.setdefault(task.digest, role)
            if other != role:
                raise LeakError(
                    f"Expected {other} and {role} tasks of different content; {task.id!r} (digest {task.digest}) is in "
                    "both. Split tasks by a digest of their content, not by their seed."
                )
