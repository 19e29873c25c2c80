"""Methods by name, and `make_reflector`, which makes a reflector from a mapping, a name or an import path.

A package adds its methods by the entry-point group `metagym.reflectors`: `my_method = "my_package.module:MyReflector"`.
A method is imported when its name is used, not before.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import os
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, Final

from metagym.errors import ConfigError, UnknownNameError
from metagym.imports import import_object
from metagym.models import ChatModel, is_model_name, make_model
from metagym.models.client_config import REFLECTOR_REPLY_TOKENS
from metagym.reflectors.protocol import Reflector, ReflectorSpec, as_reflector
from metagym.reflectors.scripted_model import ScriptedReflectorModel

METHODS: Final = {
    "fixed": "metagym.reflectors.method:FixedReflector",
    "ict": "metagym.reflectors.ict:ChatReflector",
    "reflexion_style": "metagym.reflectors.reflexion_style:ReflexionStyle",
    "expel_style": "metagym.reflectors.expel_style:ExpelStyle",
    "opro_style": "metagym.reflectors.opro_style:OproStyle",
    "ace_style": "metagym.reflectors.ace_style:AceStyle",
    "reasoning_bank_style": "metagym.reflectors.reasoning_bank_style:ReasoningBankStyle",
    "training_free_grpo_style": "metagym.reflectors.training_free_grpo_style:TrainingFreeGRPOStyle",
    "exemplars": "metagym.reflectors.exemplars:Exemplars",
    "memory_stream": "metagym.reflectors.memory_stream:MemoryStream",
}
"""The methods of this library, by name."""
CHECKPOINT_LOADER: Final = "checkpoint"
"""The entry point that makes a reflector from a folder. It is no method, because it needs the folder."""


def make_reflector(
    reflector: ReflectorSpec | Mapping[str, Any] | str, *, demo: Callable[[], Reflector] | None = None
) -> Reflector:
    """Return the reflector that `reflector` names, or raise ConfigError. It may be:

    - a reflector or a function;
    - a mapping: `method` (a name or an import path, by default `"ict"`), its `options`, and its model as for an
      actor, by default with 8,192 tokens per reply; `"model": "demo"` is the script in place of a model on Gates;
    - `"local"`: the method `ict` over the language model on this machine;
    - the name of a method that needs no model (`"fixed"`: no reflection), or `"demo"`;
    - the folder of a trained reflector or of any causal language model, which runs in this process;
    - an import path `"package.module:MyReflector"`.
    """
    if isinstance(reflector, Mapping):
        return _reflector_from_mapping(reflector)
    if not isinstance(reflector, str):
        return as_reflector(reflector)
    if is_model_name(reflector):
        return _reflector_from_mapping({"model": reflector})
    if reflector == "demo":
        if demo is None:
            raise ConfigError("This environment has no demo reflector. Name a model, or use 'fixed'.")
        return demo()
    if reflector in (known := method_names()):
        return _reflector_from_mapping({"method": reflector})
    if os.path.isdir(reflector):  # a plug-in plays it: training is in a layer above this one
        return as_reflector(find_method(CHECKPOINT_LOADER)(reflector))
    if ":" not in reflector:
        remedy = "Or 'local', a model's folder, or an import path, 'package:Name'."
        raise UnknownNameError.of("reflector", reflector, ("demo", *known), remedy=remedy)
    found: Any = import_object(reflector)
    return _reflector_from_mapping({"method": reflector}) if isinstance(found, type) else as_reflector(found)


def method_names() -> tuple[str, ...]:
    """Return the names of all methods: the library's own, then those of installed packages."""
    return (*METHODS, *sorted(set(_installed()) - {*METHODS, CHECKPOINT_LOADER}))


def find_method(name: str) -> Callable[..., Any]:
    """Return the class (or factory) of the method of that name, or at that import path `package.module:Name`.

    It takes its options by name, and its model, if it needs one, as `model`.
    """
    path = METHODS.get(name) or _installed().get(name) or (name if ":" in name else None)
    if path is None:
        raise UnknownNameError.of("method", name, method_names(), remedy="Your own reflector: 'package.module:Name'.")
    try:
        found: Callable[..., Any] = pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"The method {name!r} cannot be imported from {path!r}: {error}.") from error
    return found


def takes_model(name: str) -> bool:
    """Return whether the method of that name, or at that import path, takes a chat model."""
    found = find_method(name)
    return callable(found) and "model" in inspect.signature(found).parameters


@functools.cache  # a search of all installed packages takes 20 ms
def _installed() -> dict[str, str]:
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group="metagym.reflectors")}


def _reflector_from_mapping(mapping: Mapping[str, Any]) -> Reflector:
    named = dict(mapping)
    name, options = named.pop("method", "ict"), dict(named.pop("options", None) or {})
    method = find_method(name)
    parameters = inspect.signature(method).parameters
    needed = parameters.get("model")
    if named and needed is None:
        raise ConfigError(f"The method {name!r} takes no model; leave out {', '.join(map(repr, named))}.")
    if not named and needed is not None and needed.default is needed.empty:
        raise ConfigError(
            f"The method {name!r} needs a model: {{'method': {name!r}, 'model': ..., 'base_url': ...}}, or "
            f"--reflector {name}:NAME@URL on the command line; 'demo' is the scripted one for Gates."
        )
    if named:
        options["model"] = _reflector_model(named)
    try:
        return as_reflector(method(**options))
    except TypeError as error:
        known = ", ".join(key for key in parameters if key != "model")
        raise ConfigError(f"The method {name!r} takes the options {known or '(none)'}: {error}.") from error


def _reflector_model(mapping: Mapping[str, Any]) -> ChatModel:
    if mapping == {"model": "demo"}:
        return ScriptedReflectorModel()
    own = mapping.get("sampling") or {}
    sampling = own if "max_completion_tokens" in own else {"max_tokens": REFLECTOR_REPLY_TOKENS, **own}
    return make_model({**mapping, "sampling": sampling})
