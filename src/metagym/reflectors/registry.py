"""The methods by name: those that come with the library, and those of installed packages.

A package adds its own by the entry-point group `metagym.reflectors`:

    [project.entry-points."metagym.reflectors"]
    my_method = "my_package.module:MyReflector"

Nothing is imported before its name is asked for.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, Final

from metagym.errors import ConfigError, UnknownNameError

GROUP: Final = "metagym.reflectors"
METHODS: Final = {
    "fixed": "metagym.reflectors.fixed:FixedReflector",
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


def method_names() -> tuple[str, ...]:
    """Return the names of all methods: the library's own, then those of installed packages."""
    return (*METHODS, *sorted(set(_installed()) - set(METHODS)))


def find_method(name: str) -> Callable[..., Any]:
    """Return the class (or factory) of the method of that name, or at that import path `package.module:Name`.

    It takes its model as `model`, where it asks one, and its options by name.

    >>> find_method("ict").__name__
    'ChatReflector'

    Raises:
        UnknownNameError: there is no such method.
        ConfigError: it cannot be imported.
    """
    path = METHODS.get(name) or _installed().get(name) or (name if ":" in name else None)
    if path is None:
        raise UnknownNameError.of("method", name, method_names(), remedy="A reflector of yours: 'package.module:Name'.")
    try:
        found: Callable[..., Any] = pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"The method {name!r} cannot be imported from {path!r}: {error}.") from error
    return found


def takes_model(name: str) -> bool:
    """Whether the method of that name, or at that import path, is made over a chat model.

    >>> takes_model("ict"), takes_model("fixed")
    (True, False)
    """
    found = find_method(name)
    return callable(found) and "model" in inspect.signature(found).parameters


def _installed() -> dict[str, str]:
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=GROUP)}
