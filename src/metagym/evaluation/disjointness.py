"""Keeps validation and test tasks apart from learning: none of them is played before its time.

The guard compares digests of content, not ids. Every episode passes it, so that a reflector which plays tasks on its
own is stopped as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from metagym.errors import LeakError
from metagym.rollout import Recorder
from metagym.types import Episode, Task, Trajectory


class Guard:
    """A recorder that refuses episodes on tasks of roles that are not open yet.

    `roles` maps `validation` and `test` to their tasks. Until a role is opened, nothing may play these tasks, nor
    any other task of that split.
    """

    def __init__(self, store: Recorder, roles: Mapping[str, Sequence[Task]]) -> None:
        self._store = store
        self._closed = set(roles)
        self._role_of = {task.digest: role for role, tasks in roles.items() for task in tasks}

    def open(self, role: str) -> None:
        """Allow episodes on the tasks of that role: nothing learns from them or chooses by them any more."""
        self._closed.discard(role)

    def close(self, role: str) -> None:
        """Refuse the tasks of that role again: learning continues."""
        self._closed.add(role)

    def check(self, tasks: Iterable[Task], player: str) -> None:
        """Check that no task belongs to a closed role; `player` names who plays them.

        Raises:
            LeakError: one does.
        """
        for task in tasks:
            role = self._role_of.get(task.digest, task.split)
            if role in self._closed:
                raise LeakError(
                    f"Expected {player} to see none of the {role} tasks; it plays {task.id!r}, whose content (digest "
                    f"{task.digest}) is one of them. Take the tasks of each role from the splits of the task set, and "
                    "let no reflector play these tasks on its own."
                )

    def record_episode(self, trajectory: Trajectory) -> None:
        """Keep a finished episode that may be played now."""
        self.check([trajectory.task], "the learner")
        self._store.record_episode(trajectory)

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of an episode that was played before and may be played now."""
        self.check([episode.task], "the learner")
        return self._store.recall_episode(episode)


def check_disjoint(roles: Mapping[str, Sequence[Task]]) -> None:
    """Check that no content has two roles.

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
