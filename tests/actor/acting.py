"""One turn of an actor, for the tests of actors."""

from __future__ import annotations

import asyncio
from typing import Any

from metagym.types import Action, Observation
from tests.conftest import make_episode

WAYS = ("knock", "push")
HERE = Observation(text="You see a door.", goal="Get out.", available_actions=WAYS)


def act(actor: Any, *, steps: Any = (), observation: Observation = HERE, **episode: Any) -> Action:
    return asyncio.run(actor.act(make_episode(**episode), steps, observation))
