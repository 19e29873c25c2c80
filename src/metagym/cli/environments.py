"""`metagym envs`, `alfworld generate` and `minihack levels`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.markup import escape
from rich.table import Table
from typer import Argument, Option

from metagym.cli.console import JsonOption, console, print_json


def envs_command(as_json: JsonOption = False) -> None:
    """List the meta-environments. Your own class is named by its import path, `package.module:MyMetaEnv`."""
    import gymnasium

    from metagym.imports import install_command
    from metagym.registration import meta_env_ids, missing_package

    rows = []
    table = Table("id", "meta-steps", "ready")
    for env_id in meta_env_ids():
        length, missing = gymnasium.spec(env_id).max_episode_steps, missing_package(env_id)
        rows.append({"id": env_id, "max_episode_steps": length, "missing": missing})
        table.add_row(env_id, str(length), escape(f"no: {install_command(missing)}") if missing else "yes")
    if as_json:
        print_json(rows)
    else:
        console.print(table)


def alfworld_generate_command(
    out: Annotated[Path, Option("--out", "-o", help="The folder to write to, laid out as ALFWORLD_DATA.")],
    family: Annotated[list[str] | None, Option(help="A task type, repeatable; by default all six.")] = None,
    games: Annotated[int, Option(min=1, help="Games of each family.")] = 100,
    first_seed: Annotated[int, Option(min=0, help="The seed of the first game.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write generated games in the layout of the official ones, for stock ALFWorld. Scores are not ALFWorld's."""
    from metagym.envs.alfworld.generated.export import write_games

    written = write_games(out, families=family, num_games=games, first_seed=first_seed)
    if as_json:
        print_json(written)
    else:
        console.print(f"{len(written)} generated games are in {out}: export ALFWORLD_DATA={out}", soft_wrap=True)


def minihack_levels_command(
    ids: Annotated[list[str] | None, Argument(help="Families or groups; by default the default mix.")] = None,
    seeds: Annotated[int, Option(min=1, help="Seeds to look at for each family; about 1 ms each.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Count the distinct starts of each family: the levels that there really are to split."""
    from metagym.envs.minihack.families import DEFAULT_FAMILIES, expand_families
    from metagym.envs.minihack.tasks import count_starts

    table = Table("family", "seeds", "distinct starts", "levels, at least")
    rows = []
    for count in count_starts(expand_families(ids or DEFAULT_FAMILIES), num_seeds=seeds):
        numbers = {"num_seeds": count.num_seeds, "num_levels": count.num_levels, "estimate": count.estimate}
        rows.append({"family": count.family, **numbers})
        table.add_row(count.family, *map(str, numbers.values()))
    if as_json:
        print_json(rows)
    else:
        console.print(table)
