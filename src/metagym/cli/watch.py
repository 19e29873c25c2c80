"""`metagym watch RUN`: follow a run from another terminal, or from a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.live import Live
from typer import Argument, Exit, Option

from metagym.cli.console import console, errors, print_json
from metagym.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from metagym.runs.watching import Watched, Watcher

PATIENCE_S = 15.0
"""Seconds to wait for a folder that is missing: a run takes a while from its command to its folder."""
PERIOD_S = 0.5


def watch_command(
    run: Annotated[Path, Argument(help="A run folder, or a folder that holds some, such as an evaluation's.")],
    once: Annotated[bool, Option("--once", help="Print the state once and leave.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON; with --once.")] = False,
) -> None:
    """Follow a run: its progress, curve, rate, cost, and pending calls. `q` or Ctrl-C leaves; the run continues.

    In a pipe it prints one line per change. Exit code 0 if the run finished, 1 if it stopped before its end.
    """
    from metagym.cli.watch_view import view
    from metagym.runs.watching import Watcher

    if as_json and not once:
        raise ConfigError("--json prints one state: write --once --json.")
    watcher, ascii_only = Watcher(run), not console.encoding.lower().startswith("utf")
    if not once:
        _wait_for(watcher)
    seen = watcher.look(time.time())
    if not seen.runs:
        raise RunFolderError(
            f"Expected a run folder (one with manifest.json in it), or a folder of them, at {run}. `metagym runs "
            "FOLDER` lists what there is."
        )
    if once:
        while watcher.is_behind:
            seen = watcher.look(time.time())
        if as_json:
            print_json(seen)
        else:
            console.print(view(seen, ascii_only=ascii_only), soft_wrap=not console.is_terminal)
        return
    try:
        is_live = console.is_terminal and not console.is_dumb_terminal
        seen = _follow_live(watcher, ascii_only) if is_live else _follow_lines(watcher)
    except KeyboardInterrupt:
        raise Exit(130) from None
    if seen.is_over and seen.status != "finished":
        raise Exit(1)


def _wait_for(watcher: Watcher) -> None:
    deadline = time.monotonic() + PATIENCE_S
    if watcher.look(time.time()).runs:
        return
    errors.print(f"There is no run at {watcher.path} yet; waiting for it.", soft_wrap=True, markup=False)
    while time.monotonic() < deadline and not watcher.look(time.time()).runs:
        time.sleep(PERIOD_S / 4)


def _follow_lines(watcher: Watcher) -> Watched:
    from metagym.cli.watch_view import change_lines

    before = None
    while True:
        seen = watcher.look(time.time())
        if not watcher.is_behind:
            for line in change_lines(before, seen):
                print(line, flush=True)
            before = seen
            if seen.is_over:
                return seen
            time.sleep(PERIOD_S)


def _follow_live(watcher: Watcher, ascii_only: bool) -> Watched:
    from metagym.cli.watch_view import view

    with _keys() as pressed, Live(console=console, auto_refresh=False) as live:
        while True:
            seen = watcher.look(time.time())
            shown = view(seen, ascii_only=ascii_only, in_full=seen.is_over)
            hint = "" if seen.is_over else "\nq leaves; the run continues"
            live.update(shown.copy().append(hint, style="dim"), refresh=True)
            if seen.is_over or pressed(0.0 if watcher.is_behind else PERIOD_S) in ("q", "Q"):
                live.update(shown, refresh=True)
                return seen


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Yield a function that waits a number of seconds for a key, and returns it, or an empty text without one."""

    def no_key(seconds: float) -> str:
        time.sleep(seconds)
        return ""

    if sys.platform == "win32" or sys.stdin is None or not sys.stdin.isatty():
        yield no_key
        return
    import select
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([terminal], [], [], seconds)
        return os.read(terminal, 1).decode(errors="replace") if ready else ""

    tty.setcbreak(terminal)  # keys come one by one; Ctrl-C is still a signal
    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
