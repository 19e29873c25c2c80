"""`metagym doctor` and `serve`: problems of this installation, and a model server on this machine."""

from __future__ import annotations

import os
from typing import Annotated

from rich.text import Text
from typer import Argument, Exit, Option

from metagym.cli.console import JsonOption, console, print_json, print_text
from metagym.cli.model_options import read_model
from metagym.errors import ConfigError
from metagym.rendering import plural

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor_command(
    actor: Annotated[
        str | None,
        Option(
            metavar="SPEC",
            help="The model whose server is checked: NAME@URL, NAME or FILE.json, as for `metagym run`; by default "
            "METAGYM_MODEL.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the problems of this installation, and print the command that fixes each. Exit code 1 if there is one."""
    from metagym.doctor import State, examine

    model = {} if actor is None else read_model("--actor", actor)
    named = {name: model.get(name) for name in ("model", "base_url", "api_key_env")}
    findings = list(examine(os.environ, **named))
    problems, warnings = (sum(item.state is state for item in findings) for state in (State.PROBLEM, State.WARNING))
    if as_json:
        print_json(findings)
    else:
        width = max(len(finding.topic) for finding in findings)
        for finding in findings:
            line = Text(f"{finding.state:<8}", style=_STYLES[finding.state])
            console.print(line.append(f" {finding.topic:<{width}}  {finding.message}", style="default"), soft_wrap=True)
            if finding.remedy:
                console.print(Text(f"{'':<8} {'':<{width}}  -> {finding.remedy}", style="bold"), soft_wrap=True)
        console.print(f"{plural(problems, 'problem')}, {plural(warnings, 'warning')}.", highlight=False)
    if problems:
        raise Exit(1)


def serve_command(
    model: Annotated[str, Argument(help="The model's name or folder.")],
    engine: Annotated[
        str | None, Option(help="`vllm` or `transformers`; by default the one that is installed.")
    ] = None,
    port: Annotated[int | None, Option(help="By default a free one.")] = None,
    timeout: Annotated[float, Option(help="Seconds to wait until it answers.")] = 600.0,
    engine_option: Annotated[
        list[str] | None, Option("--engine-option", help="A further argument of the engine's command line.")
    ] = None,
) -> None:
    """Serve a model on loopback until Ctrl-C. No process is left behind, however this command ends."""
    from metagym.models import ModelServer

    if engine not in (None, "vllm", "transformers"):
        raise ConfigError(f"--engine must be 'vllm' or 'transformers', got {engine!r}.")
    with ModelServer(model, engine=engine, port=port, options=engine_option or (), timeout_s=timeout) as server:  # type: ignore[arg-type]
        print_text(
            f"{model} answers at {server.base_url}; its log is {server.log}\n"
            f"metagym run MetaGym/Gates-v0 --actor {model}@{server.base_url}\nCtrl-C ends it."
        )
        try:
            code = server.wait()
        except KeyboardInterrupt:
            return
    raise Exit(code)
