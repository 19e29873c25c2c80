"""The actor that draws its actions at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metagym.types import Action, Episode, Observation, Step


class RandomActor:
    """Plays a random available action: the floor that every actor should beat."""

    scripted = True
    fingerprint: Mapping[str, Any] = {"kind": "RandomActor"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Draw an action from the episode's seed and the number of steps."""
        if not observation.available_actions:
            return Action(text=None, problem="There is no list of available actions to draw from.")
        rng = np.random.default_rng((episode.seed, len(steps)))
        return Action(text=observation.available_actions[int(rng.integers(len(observation.available_actions)))])
