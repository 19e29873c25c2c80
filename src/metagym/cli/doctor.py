"""`metagym doctor`: what is wrong here, and the command that mends it."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.text import Text

from metagym.cli.console import JsonOption, console, print_json

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor_command(
    model: Annotated[str | None, typer.Option(help="The model to look for; by default METAGYM_MODEL.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Its server, such as http://localhost:8000/v1.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="The environment variable that holds its key.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with this installation, and the command that mends it. Exit code 1 where something is."""
    from metagym.doctor import State, examine
    from metagym.rendering import plural

    findings = list(examine(os.environ, model=model, base_url=base_url, api_key_env=api_key_env))
    counts = {state: sum(finding.state is state for finding in findings) for state in State}
    if as_json:
        print_json([finding.model_dump(mode="json") for finding in findings])
    else:
        width = max(len(finding.topic) for finding in findings)
        for finding in findings:
            line = Text(f"{finding.state:<8}", style=_STYLES[finding.state])
            console.print(line.append(f" {finding.topic:<{width}}  {finding.message}", style="default"), soft_wrap=True)
            if finding.remedy:
                console.print(Text(f"{'':<8} {'':<{width}}  -> {finding.remedy}", style="bold"), soft_wrap=True)
        warnings, problems = counts[State.WARNING], counts[State.PROBLEM]
        console.print(f"{plural(problems, 'problem')}, {plural(warnings, 'warning')}.", highlight=False)
    if counts[State.PROBLEM]:
        raise typer.Exit(1)
