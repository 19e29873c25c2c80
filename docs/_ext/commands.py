"""The page of the command line: every command and option, from the application itself."""

from collections.abc import Iterator
from typing import Any

import typer.main

from metagym.cli import app as application
from metagym.cli.model_options import GUIDE

MARK = "<!-- every command -->"
SPEC_MARK = "<!-- every form of SPEC -->"


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield each command that can be given, with its whole name."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for own, inner in sorted(command.commands.items()):
        yield from _leaves(inner, f"{name} {own}")


def _row(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    names = parameter.opts + parameter.secondary_opts if is_option else [parameter.name.upper()]
    default = parameter.default
    is_worth_saying = default or (default == 0 and not isinstance(default, bool))
    text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
    help_text = f"{text} Default: `{default}`." if is_worth_saying else text
    return f"| {', '.join(f'`{name}`' for name in names)} | {help_text}{' Required.' if parameter.required else ''} |"


def _section(name: str, command: Any) -> str:
    rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    table = ["| | |", "| --- | --- |", *rows] if rows else []
    return "\n".join([f"## {name}", "", " ".join((command.help or "").split()), "", *table, ""])


def _fill(app: Any, docname: str, source: list[str]) -> None:
    if MARK in source[0]:
        commands = _leaves(typer.main.get_command(application), "metagym")
        forms = "\n".join(f"- `{form}`: {meaning}" for form, meaning in GUIDE)
        source[0] = source[0].replace(SPEC_MARK, forms)
        source[0] = source[0].replace(MARK, "\n".join(_section(*found) for found in commands))


def setup(app: Any) -> None:
    """Connect the hook."""
    app.connect("source-read", _fill)
