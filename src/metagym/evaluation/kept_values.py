"""Values that are made of a meta-step once. A loop shows its whole history again at each reflection."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from metagym.types import MetaStep

T = TypeVar("T")


class KeptValues(Generic[T]):
    """One value for each meta-step, kept for as long as the meta-step is alive; a copy of this is empty.

    A meta-step is known by its identity: comparing two would read all their episodes.
    """

    def __init__(self) -> None:
        self._values: dict[int, T] = {}

    def of(self, meta_step: MetaStep, make: Callable[[MetaStep], T]) -> T:
        """Return the value of the meta-step; `make` it if it is not known."""
        key = id(meta_step)
        if key not in self._values:
            self._values[key] = make(meta_step)
            weakref.finalize(meta_step, self._values.pop, key, None).atexit = False
        return self._values[key]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
