"""Read what options hold: NAME=VALUE pairs, files of JSON and of text, records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from metagym.errors import ConfigError, config_error

ENV_OPTION: Final = (
    "An option of the environment, repeatable; VALUE is JSON or a word: split=test, families='[\"law-0007\"]', "
    'episodes_per_step=3, workers=\'{"processes": 4, "step_timeout_s": 20}\' (worker processes, with a time limit '
    "for each step)."
)
EnvOption = Annotated[list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help=ENV_OPTION)]

_NAME = re.compile(r"\s*(?P<name>\w+)\s*=\s*")


def read_pairs(options: Iterable[str] | None, *, name: str = "--option") -> dict[str, Any]:
    """Return the pairs of the repeatable option `name`, each NAME=VALUE; a value is JSON, or else a word."""
    read: dict[str, Any] = {}
    for option in options or ():
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"{name} expects NAME=VALUE, got {option!r}.")
        try:
            read[key] = json.loads(value)
        except ValueError:
            read[key] = value  # a plain word needs no quotes
    return read


def read_assignments(name: str, text: str) -> dict[str, Any]:
    """Return the pairs of the option `name`, NAME=VALUE with commas between them; a value is JSON, or else a word.

    >>> read_assignments("--sampling", 'temperature=0, stop=["a,b"], effort=low')
    {'temperature': 0, 'stop': ['a,b'], 'effort': 'low'}
    """
    read: dict[str, Any] = {}
    rest = text
    while rest or not read:
        found = _NAME.match(rest)
        if found is None:
            raise ConfigError(f"{name} expects NAME=VALUE with commas between the pairs, got {text!r}.")
        if found["name"] in read:
            raise ConfigError(f"{name} expects each name once, got {found['name']!r} twice in {text!r}.")
        rest = rest[found.end() :]
        try:
            value, length = json.JSONDecoder().raw_decode(rest)
            if not re.match(r"\s*(,|$)", rest[length:]):
                raise ValueError("a word that begins as a JSON value does")  # such as 50_000
        except ValueError:
            length = len(rest.partition(",")[0])
            value = rest[:length].strip()
        read[found["name"]] = value
        rest = rest[length:].lstrip().removeprefix(",")
    return read


def read_json_file(name: str, path: Path) -> dict[str, Any]:
    """Return the JSON mapping in the file that the option `name` names."""
    text = read_text(name, path)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name} expects a JSON mapping in {path}: {error}.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{name} expects a JSON mapping in {path}, got {text.strip()!r:.80}.")
    return value


def read_text(name: str, path: Path) -> str:
    """Return the text of the file that the option `name` names."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name} expects a file of text in UTF-8, got {path}: {error}.") from error


def read_config(kind: Any, options: Iterable[str] | None, *, name: str) -> Any:
    """Return a record of that kind whose fields the repeatable option `name` sets as NAME=VALUE."""
    from pydantic import ValidationError

    try:
        return kind(**read_pairs(options, name=name))
    except ValidationError as error:
        raise config_error(error, f"field of {kind.__name__}", kind.model_fields) from None
