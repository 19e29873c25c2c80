"""The scripted actor plays a list of actions."""

from __future__ import annotations

import asyncio

from metagym.testing import ScriptedActor
from metagym.types import Action, Observation
from tests.conftest import make_episode, make_step


def test_it_plays_its_actions_and_repeats_the_last() -> None:
    actor = ScriptedActor(["a", Action(text=None, problem="?")])

    def act(num_steps: int) -> Action:
        return asyncio.run(actor.act(make_episode(), [make_step()] * num_steps, Observation(text="")))

    assert [act(n).text for n in range(4)] == ["a", None, None, None]
    assert actor.scripted
