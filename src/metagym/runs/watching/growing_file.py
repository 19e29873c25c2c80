"""Read an append-only file while another process writes to it. What was read once is not read again."""

from __future__ import annotations

from pathlib import Path

from metagym.files import whole_lines

CHUNK_BYTES = 4 << 20
"""A look reads about this many bytes: a long file is read piece by piece."""


class Tail:
    """Returns the whole lines that were added to a file since the last look.

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
            return lines
        return lines
