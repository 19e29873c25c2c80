"""Reading an append-only file while another process writes to it, and telling whether that process lives.

Nothing here takes a lock or holds a writer up; what was read once is not read again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from metagym.files import whole_lines

CHUNK_BYTES = 4 << 20
"""What is read at once: a file that is long already is caught up with piece by piece."""


class Tail:
    """Gives the whole lines that were added to a file since it last looked.

    A line that is not finished waits for its end. A file that does not exist (yet, or any more) has no lines;
    one that is shorter than before, or is another file, is read from the start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_behind = False
        """Whether there is more to read at once."""
        self.has_restarted = False
        """Whether the last look began at the file's start again, so that earlier counts are void."""
        self._inode: int | None = None
        self._end = 0
        """Where the last whole line that was read ends, in bytes."""

    def lines(self) -> list[bytes]:
        """Return the next whole lines, at most about `CHUNK_BYTES` of them."""
        self.has_restarted = self.is_behind = False
        lines: list[bytes] = []
        try:
            status = self.path.stat()
            if self._inode is not None and (status.st_ino != self._inode or status.st_size < self._end):
                self.has_restarted, self._end = True, 0
            self._inode, start = status.st_ino, self._end
            for place, line in whole_lines(self.path, start, growing=True):
                lines.append(line[:-1])
                self._end = place + len(line)
                if self._end - start >= CHUNK_BYTES:
                    self.is_behind = True
                    break
        except OSError:
            return lines
        return lines


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
