"""The inner environment: one object for all games, equal in threads, and it never raises on a command."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.env import ALFWorldTextEnv
from metagym.envs.alfworld.families import FAMILIES, cluster_of
from metagym.envs.alfworld.game import Game, NativeEngine, parse_game
from metagym.envs.alfworld.generated.games import task_id
from metagym.errors import ConfigError, MissingExtraError, UnknownNameError
from metagym.testing import check_text_env
from tests.conftest import run_python


def play(env: ALFWorldTextEnv, name: str, *, seed: int = 0, num_steps: int = 25) -> list[object]:
    """Play at random and return everything that was answered."""
    rng = np.random.default_rng(seed)
    answers: list[object] = [env.reset(options={"task_id": name})]
    for _ in range(num_steps):
        _, info = answers[-1][0], answers[-1][-1]  # type: ignore[index]
        commands = info["available_actions"]
        answers.append(env.step(commands[int(rng.integers(len(commands)))]))
    return answers


def test_it_passes_both_checkers() -> None:
    check_env(ALFWorldTextEnv(data="generated"), skip_render_check=True)
    check_text_env(ALFWorldTextEnv(data="generated"))


@pytest.mark.parametrize("family", FAMILIES)
def test_progress_is_1_if_and_only_if_the_game_is_won(family: str, generated: GameCatalogue) -> None:
    env, name = ALFWorldTextEnv(catalogue=generated), task_id(family, 5)
    _, info = env.reset(options={"task_id": name})
    seen = [info["progress"]]
    for command in generated.game(name).walkthrough:
        info = env.step(command)[-1]
        seen.append(info["progress"])
        assert (info["progress"] == 1.0) == info["success"]
    assert seen[0] == 0.0
    assert seen == sorted(seen)
    assert 0.0 < seen[-2] < 1.0, "the stages before the last one count"


def test_progress_falls_if_a_stage_is_undone(generated: GameCatalogue) -> None:
    env, name = ALFWorldTextEnv(catalogue=generated), task_id("pick_and_place_simple", 5)
    env.reset(options={"task_id": name})
    walkthrough = generated.game(name).walkthrough
    taken = next(index for index, command in enumerate(walkthrough) if command.startswith("take "))
    infos = [env.step(command)[-1] for command in walkthrough[: taken + 1]]
    thing, _, place = walkthrough[taken].removeprefix("take ").partition(" from ")
    assert infos[-1]["progress"] == 0.5
    assert env.step(f"move {thing} to {place}")[-1]["progress"] == 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_walkthrough_earns_one_and_ends_the_game(family: str, generated: GameCatalogue) -> None:
    env, name = ALFWorldTextEnv(catalogue=generated), task_id(family, 3)
    _, info = env.reset(options={"task_id": name})
    assert (info["success"], info["outcome"]) == (False, "")
    rewards = []
    for command in generated.game(name).walkthrough:
        assert command in info["available_actions"]
        _, reward, terminated, truncated, info = env.step(command)
        rewards.append(reward)
        assert terminated == info["success"]
        assert not truncated
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert (info["success"], info["outcome"]) == (True, "reached the goal")


def test_the_goal_is_the_sentence_that_ends_the_first_observation() -> None:
    text, info = ALFWorldTextEnv(data="generated").reset(options={"task_id": task_id(FAMILIES[3], 0)})
    assert text.endswith(f"\n\nYour task is to: {info['goal']}")
    assert text.startswith("-= Welcome to TextWorld, ALFRED! =-\n\n")


def test_display_shows_place_and_load_of_the_player(generated: GameCatalogue) -> None:
    env, name = ALFWorldTextEnv(catalogue=generated), task_id(FAMILIES[2], 0)
    _, info = env.reset(options={"task_id": name})
    shown = [info["display"]]
    shown += [env.step(command)[-1]["display"] for command in generated.game(name).walkthrough]
    assert shown[0] == {"at": "", "carrying": ""}
    assert any(display["carrying"].startswith(cluster_of(name).target.lower()) for display in shown)
    assert shown[-1]["carrying"] == ""
    assert json.loads(json.dumps(shown)) == shown


def test_without_a_task_id_the_seed_draws_the_game() -> None:
    env = ALFWorldTextEnv(data="generated")
    assert env.reset(seed=5) == env.reset(seed=5)
    assert len({env.reset(seed=seed)[0] for seed in range(5)}) == 5


def test_one_environment_plays_many_games_as_new_ones_do() -> None:
    env = ALFWorldTextEnv(data="generated")
    for seed in range(12):
        name = task_id(FAMILIES[seed % 6], seed)
        assert play(env, name, seed=seed) == play(ALFWorldTextEnv(data="generated"), name, seed=seed)


def test_eight_threads_play_as_one_does() -> None:
    catalogue = GameCatalogue(data="generated", capacity=16)
    names = [task_id(FAMILIES[number % 6], number // 6) for number in range(64)]
    serial = [play(ALFWorldTextEnv(data="generated"), name) for name in names]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda name: play(ALFWorldTextEnv(catalogue=catalogue), name), names))
    assert threaded == serial


def test_the_catalogue_keeps_a_limited_number_of_games() -> None:
    catalogue = GameCatalogue(data="generated", capacity=3)
    for seed in range(10):
        catalogue.game(task_id(FAMILIES[0], seed))
    assert catalogue._games.cache_info().currsize == 3
    assert catalogue.game(task_id(FAMILIES[0], 9)) is catalogue.game(task_id(FAMILIES[0], 9))


@pytest.mark.parametrize("command", ["", "dance", "go to moon 1", "take mug 99 from desk 1", "é — {o}", "x" * 10_000])
def test_an_unknown_command_changes_nothing(command: str) -> None:
    env = ALFWorldTextEnv(data="generated")
    _, info = env.reset(seed=0)
    assert env.step(command) == ("Nothing happens.", 0.0, False, False, info)


@pytest.mark.parametrize("name", ["", "nothing", 7, "train/pick_and_place_simple-Mug-None-Desk-301/trial_1"])
def test_an_unknown_task_id_is_refused(name: Any) -> None:
    with pytest.raises(UnknownNameError, match="Unknown task id"):
        ALFWorldTextEnv(data="generated").reset(options={"task_id": name})


def test_both_spellings_are_accepted_only_on_request(generated: GameCatalogue) -> None:
    name = task_id(FAMILIES[0], 0)
    *before, last = generated.game(name).walkthrough
    thing, _, place = last.removeprefix("move ").partition(" to ")
    for accept, won in ((True, True), (False, False)):
        for spelling in ("in/on", "in", "on"):
            env = ALFWorldTextEnv(catalogue=generated, accept_both_spellings=accept)
            env.reset(options={"task_id": name})
            for command in before:
                env.step(command)
            assert env.step(f"put {thing} {spelling} {place}")[2] == won


def test_an_old_game_accepts_the_new_spelling_too(generated: GameCatalogue) -> None:
    name = task_id(FAMILIES[0], 0)
    game = generated.game(name)
    old = game.wording._replace(put_command="put {o} in/on {r}", put_feedback="You put the {o} in/on the {r}.")

    class OldLibrary(GameCatalogue):
        def game(self, task_id: str) -> Game:
            return game._replace(wording=old)

    env = ALFWorldTextEnv(catalogue=OldLibrary(data="generated"), accept_both_spellings=True)
    env.reset(options={"task_id": name})
    for command in game.walkthrough:
        text, *_, info = env.step(command)
    assert info["success"]
    assert text.startswith("You put the ")


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="engine must be 'native' or 'textworld', got 'unity'"):
        ALFWorldTextEnv(data="generated", engine="unity")  # type: ignore[arg-type]


def test_a_missing_stock_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"Run: pip install .* engine='native' works without it"):
        ALFWorldTextEnv(data="generated", engine="textworld")


def test_playing_imports_no_extra_and_makes_no_folder() -> None:
    done = run_python(
        "import sys\n"
        "from metagym.envs.alfworld.meta import ALFWorldMetaEnv\n"
        "env = ALFWorldMetaEnv('demo', data='generated')\n"
        "env.reset(seed=0); env.step('Go.')\n"
        "print(sorted({'alfworld', 'textworld', 'torch', 'fast_downward'} & set(sys.modules)))"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.slow
def test_official_walkthroughs_win(official: GameCatalogue) -> None:
    names = official.listing().playable
    for name in names[:: max(1, len(names) // 120)]:
        game, engine = parse_game(official.data(name), name=name), NativeEngine()
        turn = engine.start(game)
        for command in game.walkthrough:
            assert command in turn.commands, name
            turn = engine.step(command)
        assert turn.won, name
