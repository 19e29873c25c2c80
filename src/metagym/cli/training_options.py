"""What the commands of training have in common: their options, and how they are read."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

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
    return {**read_pairs(option), "actor": actor or model_spec("actor", model, base_url, key)}


def model_spec(role: str, model: str | None, base_url: str | None, api_key_env: str | None) -> dict[str, Any]:
    """Return the spec of a model on a server; none named is an error."""
    if model is None:
        raise ConfigError(
            f"No {role} is named, and training plays no stand-in unasked. Say --{role}-model NAME (with "
            f"--{role}-base-url for a server of your own), or --{role} demo for the scripted one."
        )
    spec = {"model": model, "base_url": base_url, "api_key_env": api_key_env}
    return {name: value for name, value in spec.items() if value is not None}


def read_config(kind: Any, options: list[str] | None) -> Any:
    """Return a record of that kind, its fields given as NAME=JSON."""
    from pydantic import ValidationError

    try:
        return kind(**read_pairs(options))
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(kind.model_fields)
        name = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{kind.__name__} got {name}={first['input']!r}: {first['msg']}. Fields: {known}.") from None


def read_pairs(options: list[str] | None) -> dict[str, Any]:
    """Return what NAME=JSON options say; a value that is no JSON is taken as a word."""
    read: dict[str, Any] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"Expected NAME=VALUE, got {option!r}.")
        try:
            read[name] = json.loads(value)
        except ValueError:
            read[name] = value  # a plain word needs no quotes
    return read
