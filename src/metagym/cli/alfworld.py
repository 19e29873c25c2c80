"""`metagym alfworld ...`: what the command line says about ALFWorld alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metagym.cli.console import JsonOption, console, examples, print_json

app = typer.Typer(help="ALFWorld: generate games.", no_args_is_help=True)


@app.callback()
def alfworld() -> None:
    """ALFWorld: generate games."""


@app.command(epilog=examples("metagym alfworld generate --out games --games 50"))
def generate(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write into, as ALFWORLD_DATA has it.")],
    family: Annotated[list[str] | None, typer.Option(help="A task type, repeatable; by default all six.")] = None,
    games: Annotated[int, typer.Option(min=1, help="Games of each family.")] = 100,
    first_seed: Annotated[int, typer.Option(min=0, help="The first game's seed.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write generated games in the layout of the official ones, for stock ALFWorld. They are no ALFWorld scores."""
    from metagym.envs.alfworld.generated.export import write_games

    written = write_games(out, families=family, num_games=games, first_seed=first_seed)
    if as_json:
        print_json([str(path) for path in written])
        return
    console.print(f"{len(written)} generated games are in {out}: export ALFWORLD_DATA={out}", soft_wrap=True)
