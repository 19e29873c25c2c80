"""The command that shows: `metagym report`. It only asks and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metagym.cli.console import JsonOption, print_json, print_text


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of them (of `metagym evaluate`, say).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
    episodes: Annotated[int, typer.Option(min=0, help="At most so many episodes can be looked into.")] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML file to look at runs: it opens offline, by a double click."""
    from metagym.rendering import plural
    from metagym.report import make_report

    made = make_report(runs, out, max_episodes=episodes)
    if as_json:
        print_json({**made._asdict(), "path": str(made.path)})
        return
    for problem in made.problems:
        print_text(f"Note: {problem}")
    shown = plural(made.num_episodes, "episode")
    if made.num_episodes < made.num_recorded:
        shown = f"{made.num_episodes:,} of {made.num_recorded:,} episodes (--episodes N takes in more)"
    counted = f"{plural(made.num_runs, 'run')}, {shown}, {made.num_bytes / 1e6:.1f} MB"
    print_text(f"{made.path}: {counted}")
