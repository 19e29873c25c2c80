"""Files that survive a crash: text that is written whole or not at all, and logs whose torn last line is dropped."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


def write_whole(path: Path, text: str) -> None:
    """Write a text file and its folder; a crash leaves the file as it was before, never a half one.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def whole_lines(path: Path, start: int = 0, *, growing: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield each whole line from byte `start` on, with the byte at which it begins.

    A last line without a line feed was torn by a crash: it is left out, with a warning. In a file that is
    `growing`, its writer is still busy with that line, so that nothing is said.

    Raises:
        OSError: there is no such file, or it cannot be read.
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
