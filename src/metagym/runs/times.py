"""When a run was worked on: a file beside the records. Records hold no clock, and nothing compares this file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from metagym.files import write_whole, written_at
from metagym.types import Record

TIMES = "times.json"

Clock = Callable[[], datetime]


class Session(Record):
    """One process that wrote to the run."""

    started: datetime
    ended: datetime | None = None
    """None while it writes, and after a crash until the next process opens the run."""
    finished_bytes: int | None = None
    """The size of the log, if the run came to its own end in this session: nothing is left to play."""


class Times(Record):
    """The sessions of a run in order."""

    sessions: tuple[Session, ...] = ()

    def is_end_of(self, log: Path) -> bool:
        """Whether the run came to its own end with this log; False for a run of metagym 0.1."""
        size = self.sessions[-1].finished_bytes if self.sessions else None
        return size is not None and log.exists() and log.stat().st_size == size

    @property
    def tells_end(self) -> bool:
        """Whether a session came to the run's end; False for a run of metagym 0.1, even if it is finished."""
        return any(session.finished_bytes is not None for session in self.sessions)

    @property
    def is_open(self) -> bool:
        """Whether the last process still writes, or crashed."""
        return bool(self.sessions) and self.sessions[-1].ended is None


def utc_now() -> datetime:
    """Return the time, to the second, in UTC."""
    return datetime.now(UTC).replace(microsecond=0)


def read_times(folder: Path, *, last_change: float) -> Times:
    """Return the times of the run in `folder`. A session without an end ended at `last_change`, in seconds since 1970.

    A folder of an earlier version has no times, and a file that cannot be read counts as missing.
    """
    times = _read(folder)
    if not times.is_open:
        return times
    *before, last = times.sessions
    ended = max(last.started, datetime.fromtimestamp(max(0.0, last_change), UTC))
    return Times(sessions=(*before, last.model_copy(update={"ended": ended})))


def is_open(folder: Path) -> bool:
    """Whether the last process that wrote to the run in `folder` still writes, or crashed."""
    return _read(folder).is_open


def _read(folder: Path) -> Times:
    try:
        return Times.model_validate_json((folder / TIMES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Times()


class SessionTimes:
    """Keeps the times of this process in the file. Nothing is written for a process that added no line."""

    def __init__(self, folder: Path, log: Path, clock: Clock) -> None:
        self._folder, self._log, self._clock = folder, log, clock
        self._mutex = threading.Lock()
        self._started: datetime | None = None
        self._before: tuple[Session, ...] | None = None
        self._is_finished = False

    def start(self) -> None:
        """Take the time at which this process became the writer."""
        self._started = self._clock()

    def add_line(self) -> None:
        """Write the start of this session, once."""
        with self._mutex:
            if self._started is not None and self._before is None:
                self._before = read_times(self._folder, last_change=written_at(self._log)).sessions
                self._write(None)

    def finish(self) -> None:
        """Take that the run came to its own end in this session."""
        self._is_finished = True

    def end(self) -> None:
        """Write the end of this session, if its start was written, and that the run is finished."""
        with self._mutex:
            if self._started is not None and self._before is not None:
                self._write(self._clock())
            elif self._started is not None and self._is_finished:
                self._finish_last()
            self._started = None

    def _write(self, ended: datetime | None) -> None:
        assert self._started is not None
        with contextlib.suppress(OSError):  # a full disk is reported by the log, which holds the paid replies
            size = self._log.stat().st_size if self._is_finished else None
            session = Session(started=self._started, ended=ended, finished_bytes=size)
            self._write_sessions((*(self._before or ()), session))

    def _finish_last(self) -> None:
        """Write that the last session finished the run: this one found nothing left to play."""
        times = read_times(self._folder, last_change=written_at(self._log))
        if times.sessions and not times.is_end_of(self._log):
            *before, last = times.sessions
            with contextlib.suppress(OSError):
                size = self._log.stat().st_size
                self._write_sessions((*before, last.model_copy(update={"finished_bytes": size})))

    def _write_sessions(self, sessions: tuple[Session, ...]) -> None:
        write_whole(self._folder / TIMES, Times(sessions=sessions).model_dump_json() + "\n")
