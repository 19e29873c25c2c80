"""The actor: one method. It decides what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from metagym.types import Action, Episode, Observation, Step


class Actor(Protocol):
    """Decides what to do next. One object serves all concurrent episodes, so it keeps nothing between calls.

    An actor may carry `fingerprint` (a JSON mapping of what decides its play), `scripted` (True for a
    stand-in that is no language model), `revision`, and `async aclose()`.
    """

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the action for `observation`, given the steps so far."""
        ...
