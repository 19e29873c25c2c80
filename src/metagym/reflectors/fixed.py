"""No reflection: the simplest null control."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.types import MetaStep, Reflection


class FixedReflector:
    """The prompt stays as it is."""

    scripted = False
    fingerprint = {"kind": "FixedReflector"}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the last prompt."""
        return Reflection(prompt=history[-1].prompt, analysis="No reflection.")
