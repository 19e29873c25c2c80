"""TextArena's games keep the contract of inner environments, exactly seeded, at the same time and in any process."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("textarena", reason="needs pip install textarena")

from metagym.bridges.textarena import GAMES, TextArenaEnv, TextArenaMetaEnv
from metagym.errors import ConfigError
from metagym.testing import check_meta_env
from metagym.types import Task
from tests.conftest import run_python

pytestmark = [pytest.mark.bridge, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def begin(game: str, seed: int) -> tuple[TextArenaEnv, str]:
    env = TextArenaEnv()
    return env, env.reset(seed=seed, options={"task_id": f"{game}/{seed}"})[0]


@pytest.mark.parametrize(
    "game", [pytest.param(g, marks=[] if g == "FrozenLake-v0" else pytest.mark.slow) for g in GAMES]
)
def test_a_game_keeps_the_contract(game: str) -> None:
    check_meta_env(TextArenaMetaEnv, games=[game], episodes_per_step=2)


def test_a_game_is_won_by_its_own_rules() -> None:
    env, text = begin("Mastermind-v0", 3)
    assert "Mastermind" in text
    (secret,) = [env._env.state.game_state["secret_code"]]
    text, reward, terminated, truncated, info = env.step(f"[{' '.join(map(str, secret))}]")
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert info["outcome"]


def test_an_unreadable_action_gets_an_explanation_and_no_echo() -> None:
    env, _ = begin("Mastermind-v0", 3)
    text, reward, terminated, *_ = env.step("hello there")
    assert "invalid move" in text
    assert "hello there" not in text
    assert (reward, terminated) == (0.0, False)


def test_games_at_the_same_time_change_neither_each_other_nor_the_global_stream() -> None:
    def play(env: TextArenaEnv) -> list[str]:
        return [env.step("[up]")[0] for _ in range(3)]

    alone = play(begin("2048-v0", 5)[0])
    random.seed(0)
    np.random.seed(0)
    first, _ = begin("2048-v0", 5)
    second, _ = begin("2048-v0", 6)
    mixed = []
    for _ in range(3):
        mixed.append(first.step("[up]")[0])
        second.step("[left]")
    assert mixed == alone
    drawn = (random.random(), np.random.rand())
    random.seed(0)
    np.random.seed(0)
    assert drawn == (random.random(), np.random.rand())


def test_the_content_of_a_task_has_its_hidden_state_and_is_equal_in_all_processes() -> None:
    env = TextArenaEnv()
    tasks = [Task(id=f"Mastermind-v0/{seed}", family="Mastermind-v0", seed=seed) for seed in range(5)]
    contents = [env.content(task) for task in tasks]
    assert len({content.split("\n{")[0] for content in contents}) == 1
    assert len(set(contents)) == 5
    code = (
        "from metagym.bridges.textarena import TextArenaMetaEnv as M; "
        "print([M('random').task_set.find(f'{g}/7').digest for g in M('random').games])"
    )
    outputs = {run_python(code, env={"PYTHONHASHSEED": str(seed)}).stdout for seed in (1, 2)}
    assert len(outputs) == 1
    assert "''" not in outputs.pop()


def test_a_game_that_raises_ends_the_episode_and_names_the_error() -> None:
    env, _ = begin("FrozenLake-v0", 1)

    def broken(**arguments: Any) -> Any:
        raise UnboundLocalError("player_guess")

    env._env.step = broken
    text, reward, terminated, truncated, info = env.step("[up]")
    assert (text, reward, terminated, truncated) == ("The game raised an error: UnboundLocalError.", 0.0, False, True)
    assert info == {"success": False, "outcome": f"{text} player_guess"}


def test_only_single_player_games_are_allowed() -> None:
    with pytest.raises(ConfigError, match=r"Expected the id of a TextArena game, got 'Chest-v0'"):
        begin("Chest-v0", 0)
    with pytest.raises(ConfigError, match=r"Expected a single-player game, got 'TicTacToe-v0'"):
        begin("TicTacToe-v0", 0)
    with pytest.raises(ConfigError, match=r"games must be a non-empty list"):
        TextArenaMetaEnv("random", games="Mastermind-v0")
