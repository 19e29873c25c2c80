"""No reflection: the simplest null control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from metagym.reflectors.method import ReflectionMethod
from metagym.types import MetaStep, Reflection


@dataclass(eq=False, repr=False)
class FixedReflector(ReflectionMethod):
    """Never changes the prompt."""

    model: None = field(default=None, init=False, compare=False)

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the last prompt."""
        return Reflection(prompt=history[-1].prompt, analysis="No reflection.")
