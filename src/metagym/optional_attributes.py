"""The optional attributes of actors, reflectors, chat models and optimizers, with a default for each.

The protocols need one method each, so that a plain class is enough. Every other attribute is optional;
`extension_of` is the one place that looks for it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from metagym.errors import ConfigError
from metagym.types.plain_values import plain_json


class Extension:
    """The optional attributes, and their defaults. Subclass it, or define only the attributes that differ.

    >>> class Walker:
    ...     scripted = True
    >>> extension_of(Walker()).scripted, extension_of(Walker()).revision
    (True, '')
    """

    fingerprint: Any = None
    """A JSON mapping of everything that decides the output; None means the class's qualified name."""
    scripted: bool = False
    """Whether this is a script, not a language model. Records and reports are marked `SCRIPTED`."""
    revision: str = ""
    """The version of the weights, if an outer trainer changes them."""
    keeps_ledger: bool = False
    """Chat models: whether `complete` books its own attempts, retries included. Then `ask` does not book them."""
    max_reply_tokens: int | None = None
    """Chat models: the token limit of a reply; a budget in tokens needs one."""
    context_tokens: int | None = None
    """Chat models: the longest conversation with its reply, if it is known before the server refuses one."""
    max_conversations: int | None = None
    """Chat models: the most episodes to play at once; with more, a server's cache would lose each of them soon."""
    held_to: Any = None
    """Chat models: `held_to(form)` returns the model held to a `metagym.models.constraint.ReplyForm`."""
    with_tools: Any = None
    """Chat models: `with_tools(tools)` returns the model with tools that it may call; without it, tools are text.

    With `held=True` its replies are held to valid calls."""
    sends_reasoning: Any = False
    """Chat models: whether the reasoning of earlier turns is sent back, so that it takes room in the context."""
    prices: Any = None
    """Chat models: the prices of tokens, as `metagym.budget.Prices`; a budget in money needs them."""
    model: Any = None
    """Actors and reflectors: their chat model. Chat models: the model's name."""
    bound_to: Any = None
    """Reflectors that need their own rollouts: `bound_to(replay)` returns the reflector that plays by `replay`."""
    seen: Any = None
    """Reflectors: `seen(meta_step)` returns a meta-step as the reflector reads it; None means as it was played."""

    count_in: Any = None
    """Recorders that hold episodes of earlier processes: `count_in(ledger)` counts these, once."""

    needs_chance: str = ""
    """Reflectors and optimizers: `actor` or `reflector`, if they compare several samples of it; at temperature 0 these
    are equal."""

    async def aclose(self) -> None:
        """Close connections. Calling it twice is fine."""


_NAMES = tuple(Extension.__annotations__)


def extension_of(part: object) -> Extension:
    """Return `part` if it is an `Extension`, else its optional attributes with the defaults for missing ones."""
    if isinstance(part, Extension):
        return part
    found = Extension()
    for name in _NAMES:  # quickly: this runs at each model call
        setattr(found, name, getattr(part, name, getattr(Extension, name)))
    aclose = getattr(part, "aclose", None)
    if aclose is not None:
        found.aclose = aclose  # type: ignore[method-assign]
    return found


def describe(part: object) -> Any:
    """Return the identity of a part for a fingerprint: its own `fingerprint`, else its qualified name.

    Raises:
        ConfigError: its `fingerprint` is no JSON, so that a run could not be resumed.
    """
    if part is None or isinstance(part, str | int | float | bool):
        return part
    if isinstance(part, functools.partial):
        words = {name: describe(item) for name, item in part.keywords.items()}
        return {"function": describe(part.func), "arguments": [*map(describe, part.args)], "keywords": words}
    own = extension_of(part).fingerprint
    return import_path(part) if own is None else plain_fingerprint(own, import_path(part))


def plain_fingerprint(fingerprint: Any, name: str) -> Any:
    """Return a fingerprint as it is read back from a file; ConfigError if it is no JSON."""
    try:
        return plain_json(fingerprint)
    except ValueError as error:
        raise ConfigError(f"The fingerprint of {name} must be JSON, so that a run can be resumed: {error}.") from error


def without_addresses(fingerprint: Any) -> Any:
    """Return a fingerprint without addresses of servers: the same model at another address is the same model.

    >>> without_addresses({"model": "m", "base_url": "http://localhost:8000/v1"})
    {'model': 'm'}
    """
    if isinstance(fingerprint, Mapping):
        return {name: without_addresses(part) for name, part in fingerprint.items() if name != "base_url"}
    if isinstance(fingerprint, list | tuple):
        return [without_addresses(part) for part in fingerprint]
    return fingerprint


def import_path(part: object) -> str:
    """Return `package.module:Name` of a function or class, or of the class of any other object."""
    named: Any = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}:{named.__qualname__}"
