"""Find out which process writes to a run folder, and whether it lives. No lock is taken."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def seconds_since_written(path: Path, now: float) -> float | None:
    """Return how long ago the file was last written to, `now` being seconds since 1970; None where it is not there."""
    try:
        return max(0.0, now - path.stat().st_mtime)
    except OSError:
        return None


def writer_of(lock: Path) -> int | None:
    """Return the id of the process that holds, or last held, the run folder's file `lock`; None where none is named.

    The file is looked at, never locked. The process may be one of another machine.
    """
    try:
        return int(lock.read_text(encoding="ascii", errors="replace").strip())
    except (OSError, ValueError):
        return None


def has_writer(lock: Path) -> bool:
    """Return whether a process of this machine holds the run folder's file `lock`.

    A writer on another machine, or in another container, is not seen; nor is any on Windows.
    """
    pid = writer_of(lock)
    return pid is not None and is_alive(pid) and _holds_open(pid, lock)


def is_alive(pid: int) -> bool:
    """Return whether there is such a process on this machine; on Windows, where asking would end it, False."""
    if sys.platform == "win32" or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:  # it is somebody else's
        return True
    except (OSError, OverflowError):
        return False
    return True


def _holds_open(pid: int, path: Path) -> bool:
    """Return whether the process has the file open; True where its files cannot be seen.

    The number alone may name another process by now, and a notebook lives on after its run.
    """
    try:
        files = list(os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return True
    for file in files:
        try:
            if os.path.samestat(os.stat(file.path), os.stat(path)):
                return True
        except OSError:
            continue  # it was closed meanwhile
    return False
