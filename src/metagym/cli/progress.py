"""The progress of a command: bars in a terminal, and from time to time a line in a pipe or a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from metagym.cli.console import errors, print_text

if TYPE_CHECKING:
    from metagym.runs.watching import Watched

PERIOD_S: Final = 30.0
"""Seconds between two lines."""


class ProgressLines(Progress):
    """Draws nothing, and prints the changes in the run folders at `path` every `PERIOD_S` seconds of play.

    A line is that of `metagym watch` in a pipe: episodes, meta-steps, tokens, cost and time left.
    """

    def __init__(self, path: Path, *, to: Console = errors, clock: Callable[[], float] = time.time) -> None:
        super().__init__(console=to, disable=True)
        self._path, self._to, self._now = path, to, clock
        self._printed_at = clock()
        self._watcher: Any = None
        self._before: Watched | None = None

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Count an episode or a meta-step, and print lines if it is time."""
        super().advance(task_id, advance)
        now = self._now()
        if now - self._printed_at < PERIOD_S:
            return
        from metagym.cli.watch_view import change_lines
        from metagym.runs.watching import Watcher

        self._printed_at = now
        self._watcher = self._watcher or Watcher(self._path)
        seen = self._watcher.look(now)
        while self._watcher.is_behind:
            seen = self._watcher.look(now)
        for line in change_lines(self._before, seen):
            print_text(line, to=self._to)
        self._before = seen


def progress(path: Path) -> Progress:
    """Return progress bars on the error stream, or lines about the run folders at `path` if it is no terminal."""
    if not errors.is_terminal:
        return ProgressLines(path)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=errors, transient=True)
