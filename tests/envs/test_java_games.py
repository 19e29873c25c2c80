"""The parts that games on a Java machine share, without Java: a game of the test's own."""

from __future__ import annotations

import asyncio
import weakref

import pytest

from metagym.envs.java_games import GameTurn, GoldPathExpert, JavaGame, JavaGameEnv
from metagym.errors import ConfigError, UnknownNameError
from metagym.types import Observation
from tests.conftest import make_episode, make_task


class OneRoom(JavaGame):
    """A game that `open door` wins."""

    def start(self, family: str, seed: int, *, with_gold_path: bool = False) -> GameTurn:
        return GameTurn("A room.", 0.0, False, False, ("open door",))

    def step(self, command: str) -> GameTurn:
        return GameTurn("It is open.", 1.0, True, False, ())

    def goal(self) -> str:
        return "Open the door."

    def gold_path(self) -> tuple[str, ...]:
        return ("open door",)


def test_an_environment_takes_groups_of_families_and_refuses_other_names() -> None:
    folds = {name: {"train": range(3)} for name in ("hall", "attic", "cellar")}
    env = JavaGameEnv(OneRoom, folds, ["inside", "hall"], {"inside": ["attic", "hall"]})
    assert env._families == ("attic", "hall")
    assert env.reset(seed=0)[0] == "A room."
    with pytest.raises(UnknownNameError, match=r"Unknown family 'hal': expected one of .* Did you mean 'hall'"):
        JavaGameEnv(OneRoom, folds, ["hal"])
    with pytest.raises(ConfigError, match="families must be a list of names, got the text 'hall'"):
        JavaGameEnv(OneRoom, folds, "hall")


def test_a_closed_expert_lets_go_of_its_game_and_may_play_again() -> None:
    made: list[weakref.ref[OneRoom]] = []

    def make_game() -> OneRoom:
        game = OneRoom()
        made.append(weakref.ref(game))
        return game

    async def play() -> None:
        expert = GoldPathExpert(make_game)
        for seed in (1, 2):
            episode = make_episode(task=make_task(f"room/{seed}"))
            assert (await expert.act(episode, (), Observation(text="A room."))).text == "open door"
            assert made[-1]() is not None
            await expert.aclose()
            assert made[-1]() is None

    asyncio.run(play())
    assert len(made) == 2
