"""The terminal: the streams of output, errors and progress, and how a command ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from typer import Option

from metagym.errors import BudgetExceededError, ConfigError, InfrastructureError, MetaGymError, RunFolderError

console = Console()
errors = Console(stderr=True)

DEBUG_VARIABLE = "METAGYM_DEBUG"
AGAIN = "the same command again"
"""The remedy of commands that resume by themselves what their folder holds."""

JsonOption = Annotated[bool, Option("--json", help="Print JSON.")]
SeedOption = Annotated[int, Option(help="Decides which tasks are drawn, and everything else that is random.")]


def progress() -> Progress:
    """Return progress bars on the error stream; nothing is drawn if that is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)


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


def run_app(app: Callable[[], Any]) -> None:
    """Run the command line. An error ends in a sentence and exit code 1; `--debug` shows its traceback."""
    # An installed script does not look for `lessons:MyReflector` in the folder in which it is called.
    if "" not in sys.path:
        sys.path.append("")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # in a C locale, a bar that cannot be written becomes a '?'
            stream.reconfigure(errors="replace")
    debug = os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    if "--debug" in sys.argv:  # it is allowed anywhere
        debug = True
        sys.argv.remove("--debug")
    try:
        app()
    except Exception as error:
        if debug:
            raise
        if isinstance(error, MetaGymError):
            errors.print(f"[red]Error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
            if isinstance(error, InfrastructureError) and not isinstance(error, BudgetExceededError):
                print_text("To check the server, the key and the installation: metagym doctor", to=errors)
        else:
            errors.print(f"[red]Unexpected {type(error).__name__}:[/red] {escape(str(error))}", highlight=False)
            print_text(
                "This is a defect in metagym, or in an environment, actor or reflector that was loaded. Run the same "
                "command with --debug to see the traceback. If the defect is in metagym, please report it with the "
                "traceback and the output of `metagym doctor --json`.",
                to=errors,
            )
        sys.exit(1)
