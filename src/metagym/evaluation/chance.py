"""Chance: whether models sample at all. Without it several candidates, groups and an A/A run show nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

Needs = Literal["", "actor", "reflector", "either"]
"""Whose chance an arm needs: `either` for an A/A run."""


def lacks_chance(fingerprint: Any) -> bool:
    """Return whether all models in a fingerprint are known to sample without chance: temperature 0, or no slips.

    >>> lacks_chance({"model": {"sampling": {"temperature": 0.0}}}), lacks_chance({"model": {"sampling": {}}})
    (True, False)
    """
    found = list(_temperatures(fingerprint))
    return bool(found) and all(value == 0 for value in found)


def misses(needs: Needs, actor: Any, reflector: Any) -> bool:
    """Return whether an arm needs chance that its actor or reflector, given by fingerprint, does not have."""
    if needs == "actor":
        return lacks_chance(actor)
    if needs == "reflector":
        return lacks_chance(reflector)
    # A reflector without a model, such as a function, is taken for one without chance.
    return needs == "either" and lacks_chance(actor) and (lacks_chance(reflector) or not list(_temperatures(reflector)))


def _temperatures(fingerprint: Any) -> Iterator[Any]:
    if isinstance(fingerprint, Mapping):
        for name, value in fingerprint.items():
            if name == "sampling" and isinstance(value, Mapping):
                yield value.get("temperature")
            elif name == "slip":
                yield value
            else:
                yield from _temperatures(value)
