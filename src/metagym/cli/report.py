"""The command that shows: `metagym report`. It only asks and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

commands = typer.Typer()
console = Console()


@commands.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of them (of `metagym evaluate`, say).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
    episodes: Annotated[int, typer.Option(min=0, help="At most so many episodes can be looked into.")] = 1_000,
) -> None:
    """Write one HTML file to look at runs: it opens offline, by a double click."""
    from metagym.report import make_report

    made = make_report(runs, out, max_episodes=episodes)
    for problem in made.problems:
        console.print(f"Note: {problem}", soft_wrap=True, highlight=False, markup=False)
    shown = f"{made.num_episodes:,}"
    if made.num_episodes < made.num_recorded:
        shown += f" of {made.num_recorded:,} (--episodes takes in more)"
    counted = f"{made.num_runs} run{'' if made.num_runs == 1 else 's'}, {shown} episodes, {made.num_bytes / 1e6:.1f} MB"
    console.print(f"{made.path}: {counted}", soft_wrap=True, highlight=False, markup=False)
