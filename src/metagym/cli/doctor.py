"""`metagym doctor`: problems of this installation, and the command that fixes each."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.text import Text

from metagym.cli.console import JsonOption, console, print_json
from metagym.cli.model_options import read_model

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor_command(
    actor: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="The model whose server is checked: NAME@URL, NAME or FILE.json, as for `metagym run`; by default "
            "METAGYM_MODEL.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the problems of this installation, and print the command that fixes each. Exit code 1 if there is one."""
    from metagym.doctor import State, examine
    from metagym.rendering import plural

    model = {} if actor is None else read_model("--actor", actor)
    named = {name: model.get(name) for name in ("model", "base_url", "api_key_env")}
    findings = list(examine(os.environ, **named))
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
