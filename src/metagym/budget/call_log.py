"""The log of model calls in a run folder: one line per attempt, so that a resumed run knows what was spent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from metagym.budget.records import Attempt
from metagym.errors import RunFolderError
from metagym.files import whole_lines


class CallLog:
    """Appends each attempt at a model call to `RUN/calls.jsonl`: when it is reserved, and with its outcome.

    Attempts that `read` found under way belong to a process that died. The first `write` adds a line for each of
    them, so that a watcher of the file knows which calls are under way now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        self._lost: dict[int, Attempt] = {}

    def read(self) -> Iterator[Attempt]:
        """Yield the attempts written so far; a torn last line, left by a crash, is dropped.

        Raises:
            RunFolderError: a line inside the log is broken.
        """
        lines = whole_lines(self.path) if self.path.exists() else ()
        for number, (_, line) in enumerate(lines, start=1):
            try:
                attempt = Attempt.model_validate_json(line)
            except ValidationError as error:
                raise RunFolderError(f"Line {number} of {self.path} is broken: {error}. Delete the line.") from error
            self._lost.pop(attempt.number, None)
            if attempt.outcome == "reserved":
                self._lost[attempt.number] = attempt
            yield attempt

    def write(self, attempt: Attempt) -> None:
        """Append an attempt; a replayed reply cost nothing and is left out."""
        if attempt.outcome == "replayed":
            return
        if self._file is None:
            self._cut_torn_line()
            self._file = self.path.open("a", encoding="utf-8")
            lost, self._lost = self._lost, {}
            for other in lost.values():
                self.write(other.lost())
        self._file.write(attempt.model_dump_json(exclude_defaults=True) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file. Calling it twice is fine."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _cut_torn_line(self) -> None:
        """Cut off a torn last line, so that the next attempt begins on a new line."""
        if self.path.exists():
            content = self.path.read_bytes()
            if not content.endswith(b"\n"):
                self.path.write_bytes(content[: content.rfind(b"\n") + 1])
