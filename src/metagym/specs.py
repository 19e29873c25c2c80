"""From what can be written down to live objects: an actor, a model or a reflector from its JSON-able spec."""

from __future__ import annotations

import importlib
import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from metagym.actor import Actor, ChatActor, FunctionActor, RandomActor, ReadPrompt, retrieve_items
from metagym.errors import ConfigError, UnknownNameError
from metagym.models import ChatModel, ClientConfig, OpenAIChatModel, model_from_environment
from metagym.reflectors import Reflector, ReflectorSpec, as_reflector, find_method, method_names


class ScriptedActorWarning(UserWarning):
    """A scripted stand-in plays because no model was named."""


_MODEL_KEYS = ("model", "base_url", "api_key_env", "sampling", "timeout_s", "max_retries", "client")
_ACTOR_KEYS = (*_MODEL_KEYS, "history_steps", "context_tokens", "retrieve_items")
_KINDS: Mapping[str, Any] = {
    "model": str,
    "base_url": str | None,
    "api_key_env": str | None,
    "sampling": Mapping | None,
    "timeout_s": int | float,
    "max_retries": int,
    "client": Mapping,
    "history_steps": int | None,
    "context_tokens": int | None,
    "retrieve_items": int | Mapping | None,
}

ActorSpec = Actor | Callable[..., Any] | Mapping[str, Any] | str | None


def make_actor(actor: ActorSpec, *, demo: Callable[[], Actor] | None = None) -> Actor:
    """Return the actor that `actor` names.

    It may be an actor, a function, a mapping (`model`, `base_url`, `api_key_env`, `sampling`, `timeout_s`,
    `max_retries`, `client`, `history_steps`, `context_tokens`, `retrieve_items`: its `top_k` or a mapping of its
    arguments), `"demo"`, `"random"`, an import path `"package.module:MyActor"`, or None: the model that
    METAGYM_MODEL names, else the demo actor, with a warning.

    Raises:
        ConfigError: it is none of these.
    """
    if actor is None:
        actor = model_from_environment()
        if actor is None:
            if demo is None:
                raise ConfigError(
                    "Expected an actor, got none. Pass actor={'model': ..., 'base_url': ...}, set METAGYM_MODEL, "
                    "or say actor='random'."
                )
            warnings.warn(
                "No model is named, so a scripted stand-in plays: it is no language model. Set METAGYM_MODEL, "
                "pass actor={'model': ..., 'base_url': ...}, or say actor='demo' to silence this.",
                ScriptedActorWarning,
                stacklevel=2,
            )
            return demo()
    if isinstance(actor, Mapping):
        return _actor_from_mapping(actor)
    if isinstance(actor, str):
        return _actor_from_name(actor, demo)
    if hasattr(actor, "act"):
        return cast(Actor, actor)
    if callable(actor):
        return FunctionActor(actor)
    raise ConfigError(f"Expected an actor, a function, a mapping or a name, got {type(actor).__name__}.")


def _actor_from_mapping(mapping: Mapping[str, Any]) -> ChatActor:
    model = make_model(mapping, known=_ACTOR_KEYS)
    chat = {name: value for name, value in mapping.items() if name not in (*_MODEL_KEYS, "retrieve_items")}
    return ChatActor(model, **chat, read_prompt=_read_prompt(mapping.get("retrieve_items")))


def _read_prompt(items: int | Mapping[str, Any] | None) -> ReadPrompt | None:
    if items is None:
        return None
    arguments = items if isinstance(items, Mapping) else {"top_k": items}
    try:
        return retrieve_items(**arguments)
    except TypeError as error:
        raise ConfigError(f"'retrieve_items' expects top_k, or the arguments of retrieve_items: {error}.") from None


def make_model(mapping: Mapping[str, Any], *, known: Sequence[str] = _MODEL_KEYS) -> OpenAIChatModel:
    """Return the chat model that a JSON mapping describes.

    Raises:
        ConfigError: a key is unknown, or holds a secret.
    """
    if "api_key" in mapping:
        raise ConfigError(
            "An api_key in the mapping would be written into env.spec and logs. Put it into an environment variable, "
            "and name the variable: api_key_env='MY_KEY'."
        )
    for name in mapping:
        if name not in known:
            raise UnknownNameError.of("key of the model mapping", name, known)
    if not isinstance(mapping.get("model"), str):
        raise ConfigError(f"The mapping must hold 'model', a str; got the keys {sorted(mapping)}.")
    for name, value in mapping.items():
        if not isinstance(value, _KINDS[name]):
            kind = str(_KINDS[name]).replace("collections.abc.", "")
            raise ConfigError(f"{name!r} in the mapping must be of type {kind}, got {value!r}.")
    options = {name: value for name, value in mapping.items() if name in _MODEL_KEYS}
    if "client" in options:
        try:
            options["client"] = ClientConfig.model_validate(options["client"])
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, ("client", *first["loc"])))
            raise ConfigError(f"{name} got {first['input']!r}: {first['msg']}.") from None
    return OpenAIChatModel(**options)


def _actor_from_name(name: str, demo: Callable[[], Actor] | None) -> Actor:
    if name == "random":
        return RandomActor()
    if name == "demo":
        if demo is None:
            raise ConfigError("This environment has no demo actor. Pass actor={'model': ...} or actor='random'.")
        return demo()
    if ":" not in name:
        raise UnknownNameError.of(
            "actor", name, ("demo", "random"), remedy="A model is named by a mapping: actor={'model': ...}."
        )
    found: Any = import_object(name)
    return make_actor(found() if isinstance(found, type) else found)


def make_reflector(
    reflector: ReflectorSpec | Mapping[str, Any] | str, *, demo: Callable[[], Reflector] | None = None
) -> Reflector:
    """Return the reflector that `reflector` names.

    It may be a reflector, a function, a mapping (`method`, a name or an import path, by default `"ict"`; its `options`;
    and its model as for an actor, by default with 2,000 tokens a reply; `"model": "demo"` is a scripted one for
    Gates), the name of a method that needs no model (`"fixed"`: no reflection), `"demo"`, the folder of a trained
    reflector or of any causal language model (played in this process), or an import path
    `"package.module:MyReflector"`.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(reflector, Mapping):
        return _reflector_from_mapping(reflector)
    if not isinstance(reflector, str):
        return as_reflector(reflector)
    if reflector == "demo":
        if demo is None:
            raise ConfigError("This environment has no demo reflector. Name a model, or say 'fixed'.")
        return demo()
    if reflector in (known := method_names()):
        return _reflector_from_mapping({"method": reflector})
    if os.path.isdir(reflector):  # named by import path: training lies in a layer above
        return cast(Reflector, import_object("metagym.training.serving:load_reflector")(reflector))
    if ":" not in reflector:
        remedy = "Or a model's folder, or an import path, 'package:Name'."
        raise UnknownNameError.of("reflector", reflector, ("demo", *known), remedy=remedy)
    found: Any = import_object(reflector)
    return _reflector_from_mapping({"method": reflector}) if isinstance(found, type) else as_reflector(found)


def _reflector_from_mapping(mapping: Mapping[str, Any]) -> Reflector:
    name, options = mapping.get("method", "ict"), dict(mapping.get("options") or {})
    method, named = find_method(name), {key: mapping[key] for key in mapping if key not in ("method", "options")}
    wanted = inspect.signature(method).parameters.get("model")
    if named and wanted is None:
        raise ConfigError(f"The method {name!r} asks no model; leave out {', '.join(map(repr, named))}.")
    if not named and wanted is not None and wanted.default is wanted.empty:
        raise ConfigError(
            f"The method {name!r} asks a model: {{'method': {name!r}, 'model': ..., 'base_url': ...}}, or "
            f"--reflector {name} --reflector-model NAME on the command line; 'demo' is a scripted one for Gates."
        )
    if named:
        options["model"] = _reflector_model(named)
    try:
        return as_reflector(method(**options))
    except TypeError as error:
        known = ", ".join(key for key in inspect.signature(method).parameters if key != "model")
        raise ConfigError(f"The method {name!r} takes the options {known or '(none)'}: {error}.") from error


def _reflector_model(mapping: Mapping[str, Any]) -> ChatModel:
    if dict(mapping) == {"model": "demo"}:  # named by import path: testing lies in a layer above
        return cast(ChatModel, import_object("metagym.testing:ScriptedReflectorModel")())
    own = mapping.get("sampling") or {}
    sampling = own if "max_completion_tokens" in own else {"max_tokens": 2_000, **own}
    return make_model({**mapping, "sampling": sampling})


def import_object(path: str) -> Any:
    """Return the object at `package.module:name`.

    Raises:
        ConfigError: the module cannot be imported, or has no such name.
    """
    module_name, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"Expected an import path 'package.module:name', got {path!r}: {error}") from error
