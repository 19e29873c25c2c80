"""The terminal: the streams of output and of errors."""

from __future__ import annotations

import codecs
import contextlib
import os
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic_core import to_jsonable_python
from rich.console import Console, RenderableType
from rich.text import Text
from typer import Option

from metagym.errors import ConfigError, RunFolderError

console = Console()
errors = Console(stderr=True)

AGAIN = "the same command again"  # the remedy of commands that resume by themselves what their folder holds

JsonOption = Annotated[bool, Option("--json", help="Print JSON.")]
SeedOption = Annotated[int, Option(min=0, help="Decides which tasks are drawn, and everything else that is random.")]


def print_json(value: Any) -> None:
    """Print a JSON value to the output, and nothing else; records in it are written as mappings."""
    encoding = getattr(console.file, "encoding", None) or "utf-8"
    # The streams of a command replace a letter that they cannot write.
    is_ascii = codecs.lookup(encoding).name != "utf-8"
    console.print_json(data=value, default=to_jsonable_python, ensure_ascii=is_ascii)


def print_text(text: str, *, to: Console = console) -> None:
    """Print text as it is: no markup, no colours, no added line breaks."""
    to.print(without_escapes(text, to), markup=False, highlight=False, soft_wrap=True)


def without_escapes(text: str, to: Console = console) -> str:
    """Return the text with signs for characters that a terminal obeys, if it goes to one: models write any text."""
    from metagym.rendering import visible

    return visible(text) if to.is_terminal else text


def print_parts(parts: Iterable[RenderableType]) -> None:
    """Print tables and lines of text; a line is broken only in a terminal, so that a pipe can be searched."""
    for part in parts:
        console.print(part, highlight=False, soft_wrap=isinstance(part, Text) and not console.is_terminal)


@contextlib.contextmanager
def paged(is_wanted: bool = True) -> Iterator[None]:
    """Show the output of the block in a pager if it is longer than the terminal; in a pipe print it as it comes.

    `PAGER` names the pager, as for git; an empty one means no pager.
    """
    pager = os.environ.get("PAGER", "less")
    if not (is_wanted and pager.strip() and console.is_terminal):
        yield
        return
    capture = console.capture()
    try:
        with capture:
            yield
    finally:
        _page(capture.get(), shlex.split(pager))


def _page(text: str, pager: Sequence[str]) -> None:
    if text.count("\n") >= console.height:
        with contextlib.suppress(OSError):  # it is not installed
            # F: leave if it fits, R: show colours, X: leave the text on the screen.
            subprocess.run(pager, input=text.encode(), env={"LESS": "FRX", **os.environ}, check=False)
            return
    console.file.write(text)


def thinned(values: Sequence[float | None], width: int) -> list[float | None]:
    """Return at most `width` values: if there are more, means of neighbours."""
    size = max(1, -(-len(values) // width))
    groups = [[item for item in values[at : at + size] if item is not None] for at in range(0, len(values), size)]
    return [sum(group) / len(group) if group else None for group in groups]


@contextlib.contextmanager
def resumable(kept: Path, remedy: str, *, after: Callable[[], None] | None = None) -> Iterator[None]:
    """If the command inside is stopped or fails, print the saved folder and `remedy`, the command that resumes.

    `kept` is the folder, or the file in it without which nothing was saved; `after` may print more.
    """
    try:
        yield
    except (ConfigError, RunFolderError):
        raise  # nothing was started
    except (Exception, KeyboardInterrupt):
        if kept.exists():
            folder = kept if kept.is_dir() else kept.parent
            print_text(f"What was played is in {folder}. Resume with: {remedy}", to=errors)
            if after is not None:
                after()
        raise
