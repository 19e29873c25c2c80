"""Options: read NAME=VALUE pairs, files of JSON and of text, and records; refuse the options of the first release."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Final

from typer import Context, Option
from typer.core import TyperCommand

from metagym.errors import ConfigError, config_error

ENV_OPTION: Final = (
    "An option of the environment, repeatable; VALUE is JSON or a word: split=test, families='[\"law-0007\"]', "
    'episodes_per_step=3, workers=\'{"processes": 4, "step_timeout_s": 20}\' (worker processes, with a time limit '
    "for each step)."
)
EnvOption = Annotated[list[str] | None, Option("--option", metavar="NAME=VALUE", help=ENV_OPTION)]
NUM_STEPS: Final = 10
StepsOption = Annotated[
    int, Option("--steps", "-n", min=1, help="Meta-steps: each plays a batch of episodes, then reflects on it.")
]

_FILE = '--actor FILE.json, and in the file {"model": NAME, "base_url": URL, "api_key_env": VARIABLE, "client": {...}}'
FLAGS: Final = {
    "--yes": "Start without asking, however large the plan is.",
    "--dry-run": "Print the plan of run, evaluate, arena or gate, and start nothing.",
}
PLANNING: Final = ("run", "evaluate", "arena", "gate")
"""The commands that print a plan before they start, and take `FLAGS` in any place."""
INSTEAD: Final = {
    "--model": "--actor NAME@URL, or --actor NAME for OpenAI; the reflector has the same model by default",
    "--base-url": "the server behind the model's name: --actor NAME@URL",
    "--api-key-env": _FILE,
    "--actor-model": "--actor NAME@URL, or --actor NAME for OpenAI",
    "--actor-base-url": "the server behind the model's name: --actor NAME@URL",
    "--reflector-model": "--reflector NAME@URL, or --reflector METHOD:NAME@URL",
    "--reflector-base-url": "the server behind the model's name: --reflector NAME@URL",
    "--client": _FILE,
    "--max-tokens": "--budget tokens=N (the length of a reply is --sampling max_tokens=N)",
    "--max-calls": "--budget calls=N",
    "--max-cost": "--budget cost=X",
    "--prompt": "--option first_prompt=@FILE",
    "--replay": "--option replay=FILE",
    "--no-controls": "--control none",
    "--reflectors": "the methods as arguments: metagym arena ict gepa",
    "--price-prompt": "--prices prompt=X,completion=Y",
    "--price-completion": "--prices prompt=X,completion=Y",
}
"""An option of the first release, with its new spelling."""
_NAME = re.compile(r"\s*(\w+)\s*=\s*")
_END = re.compile(r"\s*(?:,|$)")


SHORTHANDS: Final = {
    "evaluate": {
        "--preset": "",
        "--train-on": "",
        "--test-on": "--option=test_on=",
        "--control": "--option=control=",
        "--reflector-sampling": "--option=reflector_sampling=",
    }
}
"""By command: options that are short for an argument, or for an option with a prefix before their value."""


class Command(TyperCommand):
    """A command that takes the flags of a plan in any place, and names the new spelling if it is given an old one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, or refuse an old option in one sentence."""
        args = _expanded(ctx, args, SHORTHANDS.get(self.name or "", {}))
        if self.name in PLANNING:
            ctx.meta.update({f"metagym {flag}": True for flag in FLAGS if flag in args})
            args = [word for word in args if word not in FLAGS]
        elif ctx.meta.get("metagym --dry-run"):
            ctx.fail(f"--dry-run is for {', '.join(PLANNING)}.")
        known = {name for parameter in self.params for name in parameter.opts}
        instead = INSTEAD | ({"--model": "--reflector FOLDER, or a hub name"} if self.name == "grpo" else {})
        for word in args:
            old = word.partition("=")[0]
            if old in instead and old not in known:
                ctx.fail(f"{old} is no longer an option: write {instead[old]}.")
        return super().parse_args(ctx, args)


def _expanded(ctx: Any, args: list[str], shorthands: dict[str, str]) -> list[str]:
    expanded, rest = list[str](), iter(args)
    for word in rest:
        name, equals, value = word.partition("=")
        if name not in shorthands:
            expanded.append(word)
            continue
        if not equals and (value := next(rest, "--")).startswith("--"):
            got = "nothing" if value == "--" else value
            ctx.fail(f"{name} expects a value, got {got}: write {name} VALUE, or leave {name} out.")
        expanded.append(f"{shorthands[name]}{value}")
    return expanded


def flag_is_set(context: Context, flag: str) -> bool:
    """Whether one of `FLAGS` was given to the command that runs."""
    return bool(context.meta.get(f"metagym {flag}"))


def refuse_without_effect(context: Context, names: Collection[str], reason: str) -> None:
    """Raise ConfigError if one of the parameters with these `names` was given: because of `reason` it has no effect."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in names and str(context.get_parameter_source(parameter.name)).endswith("COMMANDLINE")
    ]
    if given:
        raise ConfigError(f"{', '.join(given)} would have no effect: {reason}")


def read_pairs(options: Iterable[str] | None, *, name: str = "--option", texts: Collection[str] = ()) -> dict[str, Any]:
    """Return the pairs of the repeatable option `name`, each NAME=VALUE; a value is JSON, or else a word.

    The values of the names in `texts` are texts, and are returned as they are.
    """
    read: dict[str, Any] = {}
    for option in options or ():
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"{name} expects NAME=VALUE, got {option!r}.")
        if key in read:
            raise ConfigError(f"{name} expects each name once, got {key!r} twice.")
        read[key] = value
        if key not in texts:
            with contextlib.suppress(ValueError, RecursionError):  # a plain word needs no quotes
                read[key] = json.loads(value)
    return read


def read_assignments(name: str, text: str) -> dict[str, Any]:
    """Return the pairs of the option `name`, NAME=VALUE with commas between them; a value is JSON, or else a word.

    >>> read_assignments("--sampling", 'temperature=0, stop=["a,b"], effort=low')
    {'temperature': 0, 'stop': ['a,b'], 'effort': 'low'}
    """
    read: dict[str, Any] = {}
    at = 0
    while at < len(text) or not read:
        found = _NAME.match(text, at)
        if found is None:
            raise ConfigError(f"{name} expects NAME=VALUE with commas between the pairs, got {text!r}.")
        if found[1] in read:
            raise ConfigError(f"{name} expects each name once, got {found[1]!r} twice in {text!r}.")
        try:
            read[found[1]], at = json.JSONDecoder().raw_decode(text, found.end())
            if (end := _END.match(text, at)) is None:
                raise ValueError("a word that begins as a JSON value does")  # such as 50_000
        except (ValueError, RecursionError):
            comma = text.find(",", found.end())
            word = text[found.end() : comma if comma >= 0 else len(text)]
            read[found[1]], end = word.strip(), _END.match(text, found.end() + len(word))
        assert end is not None  # a comma, or the end of the text
        at = end.end()
    return read


def read_json_file(name: str, path: Path) -> dict[str, Any]:
    """Return the JSON mapping in the file that the option `name` names."""
    text = read_text(name, path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
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
