"""The actor: one method that decides what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from metagym.types import Action, Episode, Observation, Step


class Actor(Protocol):
    """Decides what to do next. One object plays all concurrent episodes, so it keeps nothing between calls.

    Optional attributes (see `metagym.extensions.Extension`): `fingerprint`, a JSON mapping of everything that
    decides its play; `scripted`, True for a stand-in that is not a language model; `revision`; `async aclose()`.
    """

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the action for `observation`, given the steps so far."""
        ...
