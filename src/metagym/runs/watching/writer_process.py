"""Find out which process writes to a run folder, and whether it lives. No lock is taken."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def seconds_since_written(path: Path, now: float) -> float | None:
    """Return the seconds from the last write to the file until `now` (seconds since 1970); None without a file."""
    try:
        return max(0.0, now - path.stat().st_mtime)
    except OSError:
        return None


def writer_of(lock: Path) -> int | None:
    """Return the id of the process that holds, or last held, the file `lock` of a run folder; None if it names none.

    The file is read, never locked. The process may be on another machine.
    """
    try:
        return int(lock.read_text(encoding="ascii", errors="replace").strip())
    except (OSError, ValueError):
        return None


def has_writer(lock: Path) -> bool:
    """Return whether a process on this machine holds the file `lock` of a run folder.

    A writer on another machine or in another container is not seen; on Windows none is.
    """
    pid = writer_of(lock)
    return pid is not None and is_alive(pid) and _holds_open(pid, lock)


def is_alive(pid: int) -> bool:
    """Return whether the process lives on this machine; False on Windows, because there the check would end it."""
    if sys.platform == "win32" or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:  # the process of another user
        return True
    except (OSError, OverflowError):
        return False
    return True


def _holds_open(pid: int, path: Path) -> bool:
    """Return whether the process has the file open; True if its files cannot be seen.

    The id alone is not enough: it may now belong to another process, and a notebook lives on after its run.
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
            continue  # it was closed in the meantime
    return False
