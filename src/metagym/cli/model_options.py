"""The options that name actor, reflector, budget and sampling, spelled the same for every command."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from typer import Option

from metagym.cli.options import read_assignments, read_json_file
from metagym.errors import ConfigError, config_error

if TYPE_CHECKING:
    from metagym.budget import Prices

ACTOR_WORDS: Final = ("demo", "random")
REFLECTOR_WORDS: Final = ("demo",)
"""The names that are neither a model's nor a method's."""

_IMPORT_PATH = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
_ON_SERVER = re.compile(r"(?P<model>.+?)@(?P<base_url>https?://\S+)")

_ACTOR = "Who plays: a model, a class, or `demo` or `random`; see below."
_REFLECTOR = "Who writes the prompts: a model, a method, a class, ...; by default the actor's model."
_BUDGET = "Stop before more is used: tokens=N, calls=N, cost=X, episodes=N."
_REFLECTOR_SAMPLING = "How the reflector's model samples."
_SAMPLING = "How the actor's model samples: temperature=0,max_tokens=800."
ActorOption = Annotated[str | None, Option(metavar="SPEC", help=_ACTOR)]
ReflectorOption = Annotated[str | None, Option(metavar="SPEC", help=_REFLECTOR)]
BudgetOption = Annotated[str | None, Option(metavar="NAME=N,...", help=_BUDGET)]
SamplingOption = Annotated[str | None, Option(metavar="NAME=VALUE,...", help=_SAMPLING)]
ReflectorSamplingOption = Annotated[str | None, Option(metavar="NAME=VALUE,...", help=_REFLECTOR_SAMPLING)]
GUIDE: Final = (
    ("NAME@URL", "a model on a server: Qwen/Qwen3-8B@http://localhost:8000/v1"),
    ("NAME", "a model of OpenAI, or at OPENAI_BASE_URL; its key is in OPENAI_API_KEY"),
    (
        "FILE.json",
        'a model with all its settings: {"model": NAME, "base_url": URL, "api_key_env": VARIABLE, "sampling": {...}, '
        '"timeout_s": 60, "max_retries": 2, "client": {"max_concurrency": 4, "prices": {"prompt": 0.15, "completion": '
        "0.6}}}; for an actor also history_steps, context_tokens, reply_format, constrain, act, "
        'retrieve_items; for a reflector also "method" and "options". A budget in cost needs the prices, '
        "per million tokens",
    ),
    (
        "local",
        "the language model on this machine, see `metagym models`; also local:NAME, and the path of a GGUF file",
    ),
    ("litellm:NAME", "a model of any provider through LiteLLM (extra litellm): litellm:anthropic/NAME"),
    ("package.module:Name", "your own class or function"),
    ("demo, random", "scripted: the environment's demo actor, and random actions (actors only)"),
    ("METHOD", "reflectors: a method's name (ict, ace_style, fixed, ...), over the actor's model if it asks one"),
    ("METHOD:MODEL", "reflectors: a method over NAME@URL, NAME, FILE.json, or `demo`, a scripted model for Gates"),
    ("FOLDER", "reflectors: a trained reflector, or any causal language model, in this process"),
)
"""What SPEC may be, for the end of the help of each command that takes one."""


def read_actor(spec: str | None, sampling: str | None = None) -> Any:
    """Return the actor that `--actor` and `--sampling` ask for, as `make_actor` takes it."""
    from metagym.models import is_model_name

    if spec is None:
        raise ConfigError(
            "No actor is named, and a script never plays without being asked. Write --actor NAME@URL (a "
            "model on a server, such as Qwen/Qwen3-8B@http://localhost:8000/v1), --actor NAME (with OPENAI_API_KEY "
            "set), --actor local (a small model on this machine), or --actor demo for the scripted one."
        )
    is_name = spec in ACTOR_WORDS or (re.fullmatch(_IMPORT_PATH, spec) and not is_model_name(spec))
    return _with_sampling("--sampling", spec if is_name else read_model("--actor", spec, ACTOR_WORDS), sampling)


def read_reflector(spec: str | None, sampling: str | None = None, *, actor: Any) -> Any:
    """Return the reflector that `--reflector` and `--reflector-sampling` ask for, as `make_reflector` takes it.

    `actor` is the result of `read_actor`: its model is the default, without its sampling.
    """
    from metagym.models import is_model_name
    from metagym.reflectors import method_names, takes_model

    model, methods = _shared_model(actor), method_names()
    found: Any
    if spec is None:
        found = "demo" if actor == "demo" else model
        if found is None:
            raise ConfigError(
                f"No reflector is named, and the actor {actor!r} has no model to share. Write --reflector NAME@URL (a "
                "model on a server), --reflector METHOD:NAME@URL, or --reflector fixed for prompts that never change."
            )
    elif spec in REFLECTOR_WORDS or (os.path.isdir(spec) and spec not in methods):
        found = spec
    else:
        method, _, over = spec.partition(":")
        if method not in methods:
            parts = None if is_model_name(spec) else re.fullmatch(rf"({_IMPORT_PATH})(?::(.+))?", spec)
            method, over = (parts[1], parts[2]) if parts else ("", "")  # it names a model
        if method:
            found = {**read_model("--reflector", over), "method": method} if over else method
        elif spec.endswith(".json"):
            found = read_json_file("--reflector", Path(spec))
            method = "" if "model" in found else found.get("method", "ict")
        else:
            found = read_model("--reflector", spec, (*REFLECTOR_WORDS, *methods))
        if method and not over and model is not None and takes_model(method):
            found = {**model, **(found if isinstance(found, dict) else {"method": method})}
    return _with_sampling("--reflector-sampling", found, sampling)


def read_shared_model(spec: str | None, sampling: str | None = None, *, actor: Any) -> Any:
    """Return the model that several methods ask: `spec`'s, or by default the actor's, without its sampling."""
    found = {"model": "demo"} if actor == "demo" else _shared_model(actor)
    if spec is not None:
        found = read_model("--reflector-model", spec, REFLECTOR_WORDS)
    return _with_sampling("--reflector-sampling", found, sampling)


def _shared_model(actor: Any) -> dict[str, Any] | None:
    from metagym.models import MODEL_KEYS

    if not isinstance(actor, Mapping):
        return None
    return {name: value for name, value in actor.items() if name in MODEL_KEYS and name != "sampling"}


def read_model(option: str, spec: str, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the model that `spec` names: NAME@URL, NAME, FILE.json, local, or `demo`, a method's scripted model.

    `words` are the other names that the option takes: a name that is nearly one of them is a slip.
    """
    from metagym.models import is_local

    if spec.endswith(".json"):
        return read_json_file(option, Path(spec))
    if is_local(spec) or (spec.endswith(".gguf") and "@" not in spec):
        return {"model": spec if is_local(spec) else f"local:{spec}"}
    if found := _ON_SERVER.fullmatch(spec):
        url = urlsplit(found["base_url"])
        if url.username or url.password:
            raise ConfigError(
                f"{option} takes no key, since command lines are seen by others. Set an environment variable, and "
                'name it in a file: {"model": NAME, "base_url": URL, "api_key_env": VARIABLE}.'
            )
        return found.groupdict()
    if near := [word for word in difflib.get_close_matches(spec, words, cutoff=0.75) if word != spec]:
        raise ConfigError(
            f"Unknown {option.removeprefix('--')} {spec!r}: expected one of {', '.join(words)}, NAME@URL for a model, "
            f"FILE.json or package.module:Name. Did you mean {near[0]!r}?"
        )
    if not spec or re.match(r"https?://|\.{0,2}/|~", spec) or re.search(r"@[^@]*[:/]", spec):
        raise ConfigError(
            f"{option} expects a model as NAME@URL (such as Qwen/Qwen3-8B@http://localhost:8000/v1), a model's NAME, "
            f"an existing FILE.json, or package.module:Name; got {spec!r}."
        )
    return {"model": spec}


def print_models(actor: Any, reflector: Any = None) -> None:
    """Print which models play and reflect, and how they sample, before the first call is paid for."""
    from metagym.cli.console import errors, print_text
    from metagym.models import is_local
    from metagym.models.client_config import REFLECTOR_REPLY_TOKENS, REPLY_TOKENS, merge_sampling, read_base_url

    for spec in filter(names_model, (actor, reflector)):  # they refuse keys and passwords, which must not be printed
        read_base_url(spec.get("base_url"))
        merge_sampling(spec.get("sampling") or {})
    for role, spec, tokens in (("actor", actor, REPLY_TOKENS), ("reflector", reflector, REFLECTOR_REPLY_TOKENS)):
        if names_model(spec):
            own = dict(spec.get("sampling") or {})
            is_limited = "max_completion_tokens" in own or is_local(spec["model"])
            sampling = own if is_limited else {"max_tokens": tokens, **own}
            listed = (
                ", ".join(f"{name}={value}" for name, value in sampling.items())
                or "max_tokens=a quarter of its context"
            )
            at = f" at {spec['base_url']}" if spec.get("base_url") else ""
            print_text(f"{role}: {spec['model']}{at}, {listed}; all other sampling is the server's default", to=errors)


def replayed(spec: Any, role: str, cassette: str) -> Any:
    """Return the spec of an actor or reflector whose replies come from a cassette: its model asks no server.

    A local model is taken as it was recorded, so that neither its file nor its engine is needed.
    """
    from metagym.models import Cassette, is_local

    if not names_model(spec):
        return spec
    if not is_local(spec["model"]):
        return {**spec, "client": {**spec.get("client", {}), "offline": True}}
    with contextlib.closing(Cassette(cassette, mode="replay")) as recorded:
        models = recorded.models(role)
    if len(models) != 1:
        raise ConfigError(
            f"Expected replies of one model to the {role} in {cassette}, found those of {len(models)}. Give the "
            "cassette of a run with the same options."
        )
    return {**spec, "recorded": models[0]}


def read_budget(text: str | None, *, option: str = "--budget", base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the budget that the option asks for as a JSON mapping: `base`, with the given values in its place."""
    from pydantic import ValidationError

    from metagym.budget import Budget

    if text is None:
        return dict(base or {})
    try:
        given = Budget.model_validate(read_assignments(option, text)).model_dump(exclude_unset=True)
    except (ValidationError, ConfigError):
        names = ", ".join(Budget.model_fields)
        problem = f"{option} expects NAME=NUMBER with commas between them, the names among {names}; got {text!r}."
        raise ConfigError(problem) from None
    return {**(base or {}), **given}


def _with_sampling(option: str, spec: Any, text: str | None) -> Any:
    if text is None:
        return spec
    if not names_model(spec):
        raise ConfigError(f"{option} says how a model on a server samples, and {spec!r} is not one.")
    return {**spec, "sampling": {**(spec.get("sampling") or {}), **read_assignments(option, text)}}


def names_model(spec: Any) -> bool:
    """Whether a spec names a language model: not a scripted part, and not a class."""
    return isinstance(spec, Mapping) and spec.get("model", "demo") != "demo"


def prices_of(spec: Any) -> Prices | None:
    """Return the prices that a model's spec states; None if it states no prices."""
    from pydantic import ValidationError

    from metagym.budget import Prices

    client = spec.get("client") if isinstance(spec, dict) else None
    prices = client.get("prices") if isinstance(client, dict) else None
    try:
        return None if prices is None else Prices.model_validate(prices)
    except ValidationError as error:
        raise config_error(error, "field of prices", Prices.model_fields) from None


def longest_reply(spec: Any, tokens: int) -> int:
    """Return the tokens of a reply: `tokens`, or the limit in the spec's sampling if that is lower."""
    sampling = spec.get("sampling") or {} if isinstance(spec, dict) else {}
    limits = (sampling.get(name) for name in ("max_tokens", "max_completion_tokens"))  # null removes a limit
    return min([tokens, *(limit for limit in limits if isinstance(limit, int))])
