"""Reflectors from specs: a mapping, a name or an import path becomes a live reflector."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from metagym.errors import ConfigError, UnknownNameError
from metagym.imports import import_object
from metagym.models import ChatModel, make_model
from metagym.reflectors.calling import ReflectorSpec, as_reflector
from metagym.reflectors.protocol import Reflector
from metagym.reflectors.registry import find_method, method_names
from metagym.reflectors.scripted_model import ScriptedReflectorModel


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
    if os.path.isdir(reflector):  # a plug-in plays it, as training lies in a layer above
        return as_reflector(find_method("checkpoint")(reflector))
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
    if dict(mapping) == {"model": "demo"}:
        return ScriptedReflectorModel()
    own = mapping.get("sampling") or {}
    sampling = own if "max_completion_tokens" in own else {"max_tokens": 2_000, **own}
    return make_model({**mapping, "sampling": sampling})
