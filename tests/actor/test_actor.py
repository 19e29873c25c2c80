"""The random actor: it draws from the episode's seed and the turn alone."""

from __future__ import annotations

from metagym.actor import RandomActor
from metagym.types import Observation
from tests.actor.acting import WAYS, act
from tests.conftest import make_step


def test_the_random_actor_draws_from_the_episodes_seed() -> None:
    drawn = [[act(RandomActor(), seed=seed).text for seed in range(40)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == set(WAYS)


def test_the_random_actor_differs_from_turn_to_turn() -> None:
    assert len({act(RandomActor(), steps=[make_step()] * n).text for n in range(20)}) == 2


def test_the_random_actor_reports_a_missing_list_of_actions() -> None:
    action = act(RandomActor(), observation=Observation(text="x"))
    assert (action.text, action.problem) == (None, "There is no list of available actions to draw from.")
