"""The terminal: the streams of output and of errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic_core import to_jsonable_python
from rich.console import Console
from typer import Option

from metagym.errors import ConfigError, RunFolderError

console = Console()
errors = Console(stderr=True)

AGAIN = "the same command again"  # the remedy of commands that resume by themselves what their folder holds

JsonOption = Annotated[bool, Option("--json", help="Print JSON.")]
SeedOption = Annotated[int, Option(help="Decides which tasks are drawn, and everything else that is random.")]


def print_json(value: Any) -> None:
    """Print a JSON value to the output, and nothing else; records in it are written as mappings."""
    console.print_json(data=value, default=to_jsonable_python)


def print_text(text: str, *, to: Console = console) -> None:
    """Print text as it is: no markup, no colours, no added line breaks."""
    to.print(text, markup=False, highlight=False, soft_wrap=True)


def thinned(values: Sequence[float | None], width: int) -> list[float | None]:
    """Return at most `width` values: if there are more, means of neighbours."""
    size = max(1, -(-len(values) // width))
    groups = [[item for item in values[at : at + size] if item is not None] for at in range(0, len(values), size)]
    return [sum(group) / len(group) if group else None for group in groups]


@contextlib.contextmanager
def resumable(kept: Path, remedy: str, *, after: Callable[[], None] | None = None) -> Iterator[None]:
    """If the command inside is stopped or fails, print what was saved and `remedy`, the command that resumes.

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
