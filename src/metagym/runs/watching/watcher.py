"""Watch a run folder, or a folder of run folders, such as the arms of a campaign."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from metagym.runs import MANIFEST
from metagym.runs.watching.run_watcher import QUIET_S, RunState, RunWatcher, Status
from metagym.types import Record, Text

DEPTH = 2
"""A campaign is OUT/ENV-kK/ARM: run folders are searched this many levels down."""
WINDOW_S = 60.0
"""Rates are averages over this number of seconds."""
MIN_WINDOW_S = 2.0
"""No rate is given before this time."""


class Watched(Record):
    """The state of a run folder, or of a folder of run folders."""

    path: Text
    status: Status
    is_over: bool
    """Whether the runs have ended, so that nothing more will be written."""
    runs: tuple[RunState, ...]
    episodes_per_min: float | None = None
    """Over the last minute of watching; None at the start."""
    calls_per_min: float | None = None


class Watcher:
    """Watches the run folder at `path`, or all run folders below it.

    >>> Watcher("no/such/folder").look(now=0.0).runs
    ()
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._runs: dict[Path, RunWatcher] = {}
        self._samples: deque[tuple[float, int, int]] = deque()

    def look(self, now: float) -> Watched:
        """Read the added lines and return the state at `now`, in seconds since 1970."""
        for folder in run_folders(self.path):
            if folder not in self._runs:
                name = self.path.resolve().name if folder == self.path else folder.relative_to(self.path).as_posix()
                self._runs[folder] = RunWatcher(folder, name)
        states = tuple(run.look(now) for run in self._runs.values())
        status = self._status(states)
        ended = ("finished", "unreadable")
        is_quiet = all(s.status in ended or s.idle_s is None or s.idle_s >= QUIET_S for s in states)
        episodes, calls = self._rates(now, states)
        return Watched(
            path=str(self.path),
            status=status,
            is_over=status != "running" and is_quiet,
            runs=states,
            episodes_per_min=episodes,
            calls_per_min=calls,
        )

    @property
    def is_behind(self) -> bool:
        """Whether more can be read at once: a long log is read piece by piece."""
        return any(run.is_behind for run in self._runs.values())

    def _status(self, states: Sequence[RunState]) -> Status:
        found = {state.status for state in states}
        if "running" in found:
            return "running"
        # Between two arms no process writes, but the one that wrote the last arm still lives.
        is_campaign = self.path not in self._runs
        if is_campaign and any(run.has_process for run in self._runs.values()):
            return "running"
        if found <= {"finished"}:
            return "finished" if found else "unreadable"
        return "stopped" if "stopped" in found else "unreadable"

    def _rates(self, now: float, states: Sequence[RunState]) -> tuple[float | None, float | None]:
        if self.is_behind:
            return None, None
        episodes = sum(state.num_episodes for state in states)
        calls = sum(state.spent.usage.num_calls for state in states)
        self._samples.append((now, episodes, calls))
        while now - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()
        start, episodes_then, calls_then = self._samples[0]
        if now - start < MIN_WINDOW_S:
            return None, None
        per_min = 60.0 / (now - start)
        return max(0, episodes - episodes_then) * per_min, max(0, calls - calls_then) * per_min


def run_folders(path: Path, *, depth: int = DEPTH) -> Iterator[Path]:
    """Yield the run folders at `path` or below, sorted; a run folder itself is not searched."""
    if (path / MANIFEST).is_file():
        yield path
    elif depth:
        try:
            below = sorted(item.path for item in os.scandir(path) if item.is_dir() and not item.name.startswith("."))
        except OSError:
            return
        for item in below:
            yield from run_folders(Path(item), depth=depth - 1)
