"""`metagym watch RUN`: follow a run from another terminal, or from a pipe. It only asks and prints."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live

from metagym.errors import ConfigError, RunFolderError

console = Console()
errors = Console(stderr=True)

PATIENCE_S = 15.0
"""A run needs a while from its command to its folder: so long a folder that is not there is waited for."""
PERIOD_S = 1.0


def watch(
    run: Annotated[Path, typer.Argument(help="A run folder, or a folder of them such as an evaluation's.")],
    once: Annotated[bool, typer.Option("--once", help="Print the state once and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the state as JSON; with --once.")] = False,
) -> None:
    """Follow a run: progress, curve, rate, cost, and what is waited for. `q` or Ctrl-C leaves; the run goes on.

    In a pipe, one line per change. Exit code 0 where the run finished, 1 where it stopped unfinished.
    """
    from metagym.cli.watch_view import change_lines, view
    from metagym.watching import Watcher

    if as_json and not once:
        raise ConfigError("--json prints one state: say --once --json.")
    watcher = Watcher(run)
    if once:
        seen = watcher.look(time.time())
        while watcher.is_behind:
            seen = watcher.look(time.time())
        if not seen.runs:
            raise RunFolderError(_nothing_at(run))
        if as_json:
            console.print_json(seen.model_dump_json())
        else:
            console.print(view(seen, ascii_only=_is_ascii(console)))
        return
