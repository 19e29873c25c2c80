"""`metagym minihack ...`: what the command line says about MiniHack alone."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from metagym.cli.console import JsonOption, console, examples, print_json

app = typer.Typer(help="MiniHack: its families and how many levels they have.", no_args_is_help=True)


@app.callback()
def minihack() -> None:
    """MiniHack: its families and how many levels they have."""


@app.command(epilog=examples("metagym minihack levels", "metagym minihack levels MiniHack-Read-v0 --seeds 5000"))
def levels(
    ids: Annotated[list[str] | None, typer.Argument(help="Families or groups; by default the default mix.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds to look at for each family; about 1 ms each.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Count the distinct starts of each family: how many levels there really are to split."""
    from metagym.envs.minihack.families import DEFAULT_FAMILIES, expand_families
    from metagym.envs.minihack.tasks import count_starts

    table = Table("family", "seeds", "distinct starts", "levels, at least")
    rows = []
    for count in count_starts(expand_families(ids or DEFAULT_FAMILIES), num_seeds=seeds):
        rows.append(
            {
                "family": count.family,
                "num_seeds": count.num_seeds,
                "num_levels": count.num_levels,
                "estimate": count.estimate,
            }
        )
        table.add_row(count.family, str(count.num_seeds), str(count.num_levels), str(count.estimate))
    if as_json:
        print_json(rows)
    else:
        console.print(table)
