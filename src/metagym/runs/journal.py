"""An append-only file of JSON lines with one writer at a time. It does not know the meaning of the lines.

A line is whole or missing: a line that a crash tore is removed before the next one is written, and a write
that fails (a full disk) leaves nothing behind. Other processes can see the writer without taking its lock.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from metagym.errors import RunFolderError
from metagym.files import whole_lines

Place = tuple[int, int]
"""(start, length) of a line in the file, in bytes"""
LOCK = "lock"
"""The file beside the journal that its writer locks; it names the process."""


class Journal:
    """The file at `path`. `lock` makes this process its only writer; reading needs no lock.

    The operating system releases the lock when the process ends, even after a crash.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.Lock()  # lines come from the engine's thread and from the caller's
        self._lock_file: int | None = None
        self._file: int | None = None
        self._reader: int | None = None
        self._end = 0

    def lock(self) -> None:
        """Become the only writer of the file, or raise RunFolderError."""
        if self._lock_file is not None:
            return
        try:
            handle = os.open(self.path.with_name(LOCK), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"Expected a run folder that can be written to at {self.path.parent}: {error}."
            ) from error
        if not _try_lock(handle):
            owner = os.read(handle, 20).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise RunFolderError(
                f"Another process (id {owner}) is writing to {self.path.parent}. Wait for it, stop it, or name "
                "another folder."
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._lock_file = handle

    @property
    def is_locked(self) -> bool:
        """Whether this process is the writer."""
        return self._lock_file is not None

    def lines(self) -> Iterator[tuple[Place, bytes]]:
        """Yield the whole lines with their places. A torn last line is left out, with a warning."""
        if self.path.exists():
            for start, line in whole_lines(self.path):
                self._end = start + len(line)
                yield (start, len(line)), line

    def read(self, place: Place) -> bytes:
        """Return the line at `place`."""
        if self._reader is None:
            self._reader = os.open(self.path, os.O_RDONLY)
        start, length = place
        return os.pread(self._reader, length, start)

    def append(self, line: bytes) -> Place:
        """Write a line, which must end in a line feed, and return its place; if that fails, the file is as before."""
        with self._mutex:
            self.lock()
            try:
                if self._file is None:
                    self._file = self._open_whole()
                _write_all(self._file, line)
            except OSError as error:
                self._cut_back()
                raise RunFolderError(
                    f"Expected space and permission to write to {self.path}: {error}. The lines written before are "
                    "whole. Make space, and resume the run."
                ) from error
            place = (self._end, len(line))
            self._end += len(line)
            return place

    def close(self) -> None:
        """Close the file and release the lock. A second call does nothing."""
        with self._mutex:
            handles = (self._file, self._reader, self._lock_file)
            self._file = self._reader = self._lock_file = None
            for handle in handles:
                if handle is not None:
                    os.close(handle)

    def _open_whole(self) -> int:
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if os.fstat(handle).st_size > self._end:
            if any(whole_lines(self.path, self._end, growing=True)):
                os.close(handle)
                raise RunFolderError(f"Another process has written to {self.path} since it was read. Open it again.")
            os.ftruncate(handle, self._end)  # the torn last line
        return handle

    def _cut_back(self) -> None:
        if self._file is not None:
            try:
                os.ftruncate(self._file, self._end)
            except OSError:  # the next opening removes the torn line
                os.close(self._file)
                self._file = None


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _try_lock(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows has no flock: there a second writer is not detected
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def living_writer(lock: Path) -> int | None:
    """Return the id of the process that writes, or last wrote, to the run folder of the file `lock`, if it lives.

    The file is read, never locked. A process on another machine or in another container is not seen; on Windows
    no process is seen at all, because there the check would end it.
    """
    try:
        pid = int(lock.read_text(encoding="ascii", errors="replace").strip())
    except (OSError, ValueError):
        return None
    if sys.platform == "win32" or pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:  # the process of another user
        return pid
    except (OSError, OverflowError):
        return None
    return pid


def has_writer(lock: Path) -> bool:
    """Return whether a process on this machine holds the file `lock`; True if the files of the process are hidden.

    The id alone is not enough: it may now belong to another process, and a notebook lives on after its run.
    """
    pid = living_writer(lock)
    if pid is None:
        return False
    try:
        files = list(os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return True
    for file in files:
        with contextlib.suppress(OSError):  # it was closed in the meantime
            if os.path.samefile(file.path, lock):
                return True
    return False
