"""Files that survive a crash: text that is written whole or not at all, and logs of whole lines that may still grow."""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)
CHUNK_BYTES = 4 << 20
"""A look at a growing file reads about this many bytes: a long file is read piece by piece."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file and its folder; a crash leaves the file as it was before, never a half one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(path)


def quoted(path: str | Path) -> str:
    """Return a path as a command line takes it.

    >>> quoted("runs/first"), quoted("my runs/first")
    ('runs/first', "'my runs/first'")
    """
    return shlex.quote(str(path))


def written_at(path: Path) -> float:
    """Return when the file was last written, in seconds since 1970; minus infinity without a file."""
    try:
        return path.stat().st_mtime
    except OSError:
        return -math.inf


def whole_lines(path: Path, start: int = 0, *, growing: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield each whole line from byte `start` on, with the byte at which it begins.

    A last line without a line feed was torn by a crash: it is left out, with a warning. In a file that is
    `growing`, its writer is still busy with that line, so that nothing is said.
    """
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                if not growing:
                    logger.warning("The last line of %s was torn by a crash; it is dropped.", path)
                return
            yield start, line
            start += len(line)


class Tail:
    """Returns the whole lines that were added to a file since the last look. No line is read twice.

    A line that is not finished waits for its end. A file that does not exist (yet, or any more) has no lines;
    one that is shorter than before, or is another file, is read from the start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_behind = False
        """Whether more can be read at once."""
        self.has_restarted = False
        """Whether the last look began at the file's start again, so that earlier counts are void."""
        self._inode: int | None = None
        self._end = 0
        """The byte after the last whole line that was read."""

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
            pass  # keep the lines that were read
        return lines
