"""A level is the same in a new game, in a re-used game, in another process, and in MiniHack's own environment."""

from __future__ import annotations

import pytest
from tests.envs.minihack.conftest import HAS_MINIHACK
from tools.minihack_verify import (
    count_differences,
    first_screen,
    first_screen_of_minihack,
    play_elsewhere,
    play_levels,
)

from metagym.envs.minihack.engine import NetHackGame

pytestmark = [pytest.mark.minihack, pytest.mark.skipif(not HAS_MINIHACK, reason="needs the extra minihack")]

LEVELS = [
    f"MiniHack-{name}/{seed}"
    for name in (
        "Room-Monster-5x5-v0",
        "Corridor-R2-v0",
        "Zap-Distr-v0",
        "Sokoban2a-v1",
        "Memento-Short-F2-v0",
    )
    for seed in (1, 2)
]


def test_a_seed_gives_the_level_of_minihacks_own_environment() -> None:
    for task_id in (*LEVELS[::2], LEVELS[1]):
        game = NetHackGame(task_id.rpartition("/")[0])
        game.start(99)
        assert first_screen(game, task_id) == first_screen_of_minihack(task_id)
        game.close()


@pytest.mark.slow
def test_new_games_reused_games_and_another_process_play_the_same() -> None:
    fresh = play_levels(LEVELS, fresh=True)
    assert count_differences(fresh, play_levels(LEVELS)) == (0, 0)
    assert count_differences(fresh, play_elsewhere(LEVELS[::-1])) == (0, 0)


def test_a_difference_is_counted() -> None:
    reference = play_levels(LEVELS[:2])
    other = {**reference, LEVELS[0]: reference[LEVELS[0]]._replace(all="else")}
    assert count_differences(reference, other) == (0, 1)
