"""`metagym alfworld ...`: what the command line says about ALFWorld alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(help="ALFWorld: generate games.", no_args_is_help=True)
console = Console()


@app.callback()
def alfworld() -> None:
    """ALFWorld: generate games."""


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write into, as ALFWORLD_DATA has it.")],
    family: Annotated[list[str] | None, typer.Option(help="A task type, repeatable; by default all six.")] = None,
    games: Annotated[int, typer.Option(min=1, help="Games of each family.")] = 100,
    first_seed: Annotated[int, typer.Option(min=0, help="The first game's seed.")] = 0,
) -> None:
    """Write generated games in the layout of the official ones, for stock ALFWorld. They are no ALFWorld scores."""
    from metagym.envs.alfworld.export import write

    written = write(out, families=family, num_games=games, first_seed=first_seed)
    console.print(f"{len(written)} generated games are in {out}: export ALFWORLD_DATA={out}", soft_wrap=True)
