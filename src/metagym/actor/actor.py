"""The actor: one method that chooses the next action; and RandomActor, the floor that every actor should beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from metagym.bad_replies import early_end
from metagym.tools import random_call
from metagym.types import Action, Completion, Episode, Observation, Step


class Actor(Protocol):
    """Chooses the next action. One object plays all concurrent episodes, so it keeps nothing between calls.

    Optional attributes (see `metagym.optional_attributes.Extension`): `fingerprint`, a JSON mapping of everything that
    decides its play; `scripted`, True for a script that is not a language model; `revision`; `async aclose()`.
    """

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the action for `observation`, given the steps so far."""


def tools_at(steps: Sequence[Step], observation: Observation) -> tuple[Any, ...] | None:
    """Return the tools that are offered now; None if the environment offers no tools."""
    if observation.tools is not None:
        return observation.tools
    return next((step.observation.tools for step in reversed(steps) if step.observation.tools is not None), None)


def end_problem(completion: Completion) -> str:
    """Return the feedback to a reply that did not end by itself; an empty text if it did."""
    problem = early_end(completion, "your reply")
    return f"{problem}. Be brief." if completion.finish_reason == "length" else problem and f"{problem}."


class RandomActor:
    """Plays a random available action or call of a tool, drawn from the episode's seed and the number of steps."""

    scripted = True
    fingerprint: Mapping[str, Any] = {"kind": "RandomActor"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Draw an action."""
        rng = np.random.default_rng((episode.seed, len(steps)))
        if tools := tools_at(steps, observation):
            return Action(text=random_call(tools, rng).text)
        if not observation.available_actions:
            return Action(text=None, problem="There is no list of available actions to draw from.")
        return Action(text=observation.available_actions[int(rng.integers(len(observation.available_actions)))])
