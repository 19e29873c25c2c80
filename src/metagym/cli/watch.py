"""`metagym watch RUN`: follow a run from another terminal, or from a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.text import Text

from metagym.cli.console import console, errors
from metagym.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from rich.console import Console

    from metagym.runs.watching import Watched, Watcher


PATIENCE_S = 15.0
"""Seconds to wait for a folder that is missing: a run takes a while from its command to its folder."""
PERIOD_S = 0.5


def watch_command(
    run: Annotated[Path, typer.Argument(help="A run folder, or a folder that holds some, such as an evaluation's.")],
    once: Annotated[bool, typer.Option("--once", help="Print the state once and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --once.")] = False,
) -> None:
    """Follow a run: its progress, curve, rate, cost, and pending calls. `q` or Ctrl-C leaves; the run continues.

    In a pipe it prints one line per change. Exit code 0 if the run finished, 1 if it stopped before its end.
    """
    from metagym.cli.watch_view import change_lines, view
    from metagym.runs.watching import Watcher

    if as_json and not once:
        raise ConfigError("--json prints one state: write --once --json.")
    watcher = Watcher(run)
    if once:
        seen = watcher.look(time.time())
        while watcher.is_behind:
            seen = watcher.look(time.time())
        if not seen.runs:
            raise RunFolderError(_nothing_at(run))
        if as_json:
            sys.stdout.write(seen.model_dump_json(indent=2) + "\n")
        else:
            console.print(view(seen, ascii_only=_is_ascii(console)), soft_wrap=not console.is_terminal)
        return
    _wait_for(watcher)
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            seen = _follow_live(
                watcher, lambda state: view(state, ascii_only=_is_ascii(console), in_full=state.is_over)
            )
        else:
            seen = _follow_lines(watcher, change_lines)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if seen.is_over and seen.status != "finished":
        raise typer.Exit(1)


def _wait_for(watcher: Watcher) -> None:
    """Wait until there is a run, up to the time that a command needs from its start to its folder.

    Raises:
        RunFolderError: no run appeared.
    """
    deadline = time.monotonic() + PATIENCE_S
    if watcher.look(time.time()).runs:
        return
    errors.print(f"There is no run at {watcher.path} yet; waiting for it.", soft_wrap=True, markup=False)
    while not watcher.look(time.time()).runs:
        if time.monotonic() > deadline:
            raise RunFolderError(_nothing_at(watcher.path))
        time.sleep(PERIOD_S / 4)


def _follow_lines(watcher: Watcher, lines_of: Callable[[Watched | None, Watched], list[str]]) -> Watched:
    before = None
    while True:
        seen = watcher.look(time.time())
        if not watcher.is_behind:
            for line in lines_of(before, seen):
                print(line, flush=True)
            before = seen
            if seen.is_over:
                return seen
            time.sleep(PERIOD_S)


def _follow_live(watcher: Watcher, draw: Callable[[Watched], Text]) -> Watched:
    with _keys() as pressed, Live(console=console, auto_refresh=False) as live:
        while True:
            seen = watcher.look(time.time())
            shown = draw(seen)
            if not seen.is_over:
                shown = shown.append("\nq leaves; the run continues", style="dim")
            live.update(shown, refresh=True)
            if seen.is_over or pressed(0.0 if watcher.is_behind else PERIOD_S) in ("q", "Q"):
                live.update(draw(seen), refresh=True)
                return seen


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Yield a function that waits a number of seconds for a key, and returns it, or an empty text without one."""
    if sys.platform == "win32" or sys.stdin is None or not sys.stdin.isatty():
        yield _no_key
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


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _is_ascii(to: Console) -> bool:
    return not to.encoding.lower().startswith("utf")


def _nothing_at(path: Path) -> str:
    return (
        f"Expected a run folder (one with manifest.json in it), or a folder of them, at {path}. `metagym runs FOLDER` "
        "lists what there is."
    )
