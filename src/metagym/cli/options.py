"""What options say: from the words of a command line to specs, budgets and records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError


def model_spec(
    model: str | None, base_url: str | None, api_key_env: str | None, client: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the spec of a model; None where none is named. `demo` is the scripted one, and takes nothing else."""
    if model is None or model == "demo":
        return {"model": "demo"} if model else None
    spec = {"model": model, "base_url": base_url, "api_key_env": api_key_env, "client": client or None}
    return {name: value for name, value in spec.items() if value is not None}


def read_budget(
    max_tokens: int | None, max_calls: int | None, max_cost: float | None, *, base: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the budget as a JSON mapping: `base`, with what is given in its place."""
    given = {"tokens": max_tokens, "calls": max_calls, "cost": max_cost}
    return {**(base or {}), **{name: value for name, value in given.items() if value is not None}}


def read_reflector(reflector: str | None, model: dict[str, Any] | None) -> Any:
    """Return the reflector's spec: the name that was given, with the model where it names a method that takes one."""
    from metagym.reflectors import method_names, takes_model

    if reflector is None or model is None:
        return reflector or model
    is_method = reflector in method_names() or ":" in reflector
    return {"method": reflector, **model} if is_method and takes_model(reflector) else reflector


def read_json(name: str, text: str) -> dict[str, Any]:
    """Return the JSON mapping that an option holds."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name} expects a JSON mapping, got {text!r}: {error}.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{name} expects a JSON mapping, got {text!r}.")
    return value


def read_text(name: str, path: Path) -> str:
    """Return the text of the file that an option names."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name} expects a file of text in UTF-8, got {path}: {error}.") from error


def read_config(kind: Any, options: list[str] | None, *, name: str) -> Any:
    """Return a record of that kind, its fields given as NAME=JSON by the option `name`."""
    from pydantic import ValidationError

    try:
        return kind(**read_pairs(options, name=name))
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(kind.model_fields)
        field = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{kind.__name__} got {field}={first['input']!r}: {first['msg']}. Fields: {known}.") from None


def read_pairs(options: list[str] | None, *, name: str = "--option") -> dict[str, Any]:
    """Return the NAME=JSON pairs of the option `name`; a value that is no JSON is a word."""
    read: dict[str, Any] = {}
    for option in options or []:
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"{name} expects NAME=VALUE, got {option!r}.")
        try:
            read[key] = json.loads(value)
        except ValueError:
            read[key] = value  # a plain word needs no quotes
    return read
