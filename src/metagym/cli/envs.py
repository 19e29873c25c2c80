"""`metagym envs`: the meta-environments, and what is missing for them."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from metagym.cli.console import JsonOption, console, print_json


def envs(as_json: JsonOption = False) -> None:
    """List the meta-environments. One of your own is named by its import path, `package.module:MyMetaEnv`."""
    import gymnasium

    from metagym.registration import meta_env_ids, missing_package

    rows = [
        {
            "id": env_id,
            "max_episode_steps": gymnasium.spec(env_id).max_episode_steps,
            "missing": missing_package(env_id),
        }
        for env_id in meta_env_ids()
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("id", "meta-steps", "ready")
    for row in rows:
        ready = "yes" if row["missing"] is None else escape(f"no: pip install 'metagym[{row['missing']}]'")
        table.add_row(str(row["id"]), str(row["max_episode_steps"]), ready)
    console.print(table)
