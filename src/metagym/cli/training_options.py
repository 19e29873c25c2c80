"""What the commands of training have in common: their options, and how they are read."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from metagym.cli.options import model_spec, read_pairs
from metagym.errors import ConfigError

SeedOption = Annotated[int, typer.Option(help="Fixes all chance.")]
ActorOption = Annotated[str | None, typer.Option(help="`demo`, `random`, or package.module:MyActor.")]
ModelOption = Annotated[str | None, typer.Option(help="The actor's model.")]
UrlOption = Annotated[str | None, typer.Option(help="Its server, such as http://localhost:8000/v1.")]
KeyOption = Annotated[str | None, typer.Option(help="The environment variable that holds its key.")]
EnvOption = Annotated[list[str] | None, typer.Option("--option", help="NAME=JSON, an option of the environment.")]


def actor_options(
    option: list[str] | None, actor: str | None, model: str | None, base_url: str | None, key: str | None
) -> dict[str, Any]:
    """Return the environment's options, its actor among them; none named is an error."""
    return {**read_pairs(option), "actor": actor or named_model("actor", model, base_url, key)}


def named_model(role: str, model: str | None, base_url: str | None, api_key_env: str | None) -> Any:
    """Return the spec of a model on a server; none named is an error."""
    if model is None:
        raise ConfigError(
            f"No {role} is named, and training plays no stand-in unasked. Say --{role}-model NAME (with "
            f"--{role}-base-url for a server of your own), or --{role} demo for the scripted one."
        )
    return model_spec(model, base_url, api_key_env)
