"""`metagym serve`: a model server on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from metagym.cli.console import console
from metagym.errors import ConfigError


def serve_command(
    model: Annotated[str, typer.Argument(help="The model's name or folder.")],
    engine: Annotated[
        str | None, typer.Option(help="`vllm` or `transformers`; by default the one that is installed.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="By default a free one.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it answers.")] = 600.0,
    engine_option: Annotated[
        list[str] | None, typer.Option("--engine-option", help="A further argument of the engine's command line.")
    ] = None,
) -> None:
    """Serve a model on loopback until Ctrl-C. No process is left behind, however this command ends."""
    from metagym.models import ModelServer

    if engine not in (None, "vllm", "transformers"):
        raise ConfigError(f"--engine must be 'vllm' or 'transformers', got {engine!r}.")
    server = ModelServer(model, engine=engine, port=port, options=engine_option or (), timeout_s=timeout)  # type: ignore[arg-type]
    with server:
        console.print(
            f"{model} answers at {server.base_url}; its log is {server.log}\n"
            f"metagym run MetaGym/Gates-v0 --actor {model}@{server.base_url}\nCtrl-C ends it.",
            highlight=False,
            soft_wrap=True,
        )
        try:
            code = server.wait()
        except KeyboardInterrupt:
            return
    raise typer.Exit(code)
