"""`metagym presets list` and `show`: the protocols that have a name."""

from __future__ import annotations

from typing import Annotated

from rich.table import Column, Table
from typer import Argument

from metagym.cli.console import JsonOption, console, print_json, print_text


def presets_list_command(as_json: JsonOption = False) -> None:
    """List the presets of `metagym evaluate` and `metagym arena`, and the most episodes that each plays."""
    from metagym.evaluation.planned_use import plan
    from metagym.evaluation.preset import load_preset, preset_names

    rows = []
    for name in preset_names():
        preset = load_preset(name)
        is_stream = preset.protocol == "stream"
        planned = plan(preset.configs(), controls=preset.controls, is_stream=is_stream)
        episodes = sum(item.num_episodes for item in planned)
        rows.append({"name": name, "num_episodes": episodes, "about": " ".join(preset.about.split())})
    if as_json:
        print_json(rows)
        return
    table = Table("name", Column("episodes", justify="right"), Column("description", overflow="fold"))
    for row in rows:
        table.add_row(str(row["name"]), f"{row['num_episodes']:,}", str(row["about"]))
    console.print(table)
    print_text("To see one, and to copy it: metagym presets show NAME > mine.toml")


def presets_show_command(
    name: Annotated[str, Argument(help="The name of a preset.")], as_json: JsonOption = False
) -> None:
    """Print a preset as TOML: copy it to change it."""
    from metagym.evaluation.preset import load_preset, preset_text

    if as_json:
        print_json(load_preset(name))
    else:
        print_text(preset_text(name).rstrip())
