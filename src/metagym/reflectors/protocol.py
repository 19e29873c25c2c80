"""The protocol of a reflector: it reads a history of meta-steps and writes the next prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from metagym.types import MetaStep, Reflection


class Reflector(Protocol):
    """Writes the next prompt. It keeps nothing between calls: its memory travels in `Reflection.memory`.

    Its optional attributes (`fingerprint`, `scripted`, ...) are those of `metagym.extensions.Extension`.
    """

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the prompt for the next meta-step, given all meta-steps so far (at least one)."""
        ...


class Replay(Protocol):
    """Plays tasks of this meta-episode again, for a reflector that needs its own rollouts."""

    async def __call__(
        self, prompts: Sequence[str], task_ids: Sequence[str], *, repetitions: int = 1
    ) -> tuple[MetaStep, ...]:
        """Play the tasks under each prompt, as `MetaEnv.replay` does; return one MetaStep per prompt.

        Its episodes are recorded and booked as learning. Equal calls give equal episodes: use `repetitions` to
        get a group of samples. An episode that failed for infrastructure reasons has the score None.
        """
        ...


class RolloutReflector(Reflector, Protocol):
    """A reflector that needs its own rollouts. `optimize` and `evaluate` bind it before it reflects."""

    def bound_to(self, replay: Replay) -> Reflector:
        """Return a copy that plays by `replay`. This object does not change: several meta-episodes share it."""
        ...
