from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from metagym.envs.minihack.engine import GamePool, NetHackGame, import_minihack
from metagym.errors import UnknownNameError

pytestmark = pytest.mark.minihack

ROOM, READ = "MiniHack-Room-Ultimate-5x5-v0", "MiniHack-Read-v0"


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def num_descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "name",
    ["Room-Ultimate-5x5-v0", "Read-Distr-v0", "Sokoban1a-v1", "Memento-Short-F2-v0", "ExploreMaze-Easy-v0"],
)
def test_a_key_does_what_minihacks_own_step_does(name):
    ours, theirs = NetHackGame(f"MiniHack-{name}"), NetHackGame(f"MiniHack-{name}")
    step = import_minihack().MiniHack.step
    choose = random.Random(name)
    for seed in range(3):
        ours.start(seed)
        theirs.start(seed)
        for _ in range(60):
            key = choose.choice((*ours.keys, 13))
            outcome = ours.press(key)
            _, reward, is_over, _, info = step(theirs._env, key)
            assert (outcome.reward, outcome.is_over) == (reward, is_over)
            assert outcome.is_success == (info["end_status"] == 2 and reward > 0)
            if is_over:
                break
            assert ours.screen() == theirs.screen()
    ours.close()
    theirs.close()


def test_an_id_that_needs_minigrid_is_refused():
    with pytest.raises(UnknownNameError, match="needs the package minigrid"):
        NetHackGame("MiniHack-MultiRoom-N2-v0")


def test_the_top_ten_list_is_emptied():
    game = NetHackGame("MiniHack-WoD-Hard-Full-v0")
    folder = game._env.nethack._vardir
    for name in ("record", "logfile", "xlogfile"):
        with open(os.path.join(folder, name), "w") as file:
            file.write("1000 points, killed by a test\tdeath=killed by a test")
    game.start(1)
    assert game.cause_of_end() == ""
    game.close()


def test_a_closed_game_leaves_no_file_and_no_descriptor():
    NetHackGame(ROOM).close()
    before = num_descriptors()
    game = NetHackGame(ROOM)
    folder = game._env.nethack._vardir
    game.start(1)
    assert os.path.isdir(folder)
    game.close()
    game.close()
    assert not os.path.exists(folder)
    assert num_descriptors() == before


def test_a_pool_keeps_games_and_closes_the_longest_idle():
    pool = GamePool(max_idle=2)
    first, second, third = (pool.take(ROOM) for _ in range(3))
    for game in (first, second, third):
        pool.give_back(game)
    assert not first.is_usable
    assert pool.take(ROOM) is third
    assert pool.take(ROOM) is second
    assert pool.take(READ).family == READ
    pool.give_back(second)
    pool.close()
    pool.close()
    assert not second.is_usable
    third.close()


def test_games_are_made_in_threads_and_play_the_same_there():
    pool = GamePool()
    pool.prepare([ROOM] * 4, num_threads=4)
    games = [pool.take(ROOM) for _ in range(4)]

    def play(game):
        screens = []
        for seed in range(5):
            game.start(seed)
            for key in b"hjklyubn":
                if game.press(key).is_over:
                    break
                screens.append(game.screen())
        return screens

    with ThreadPoolExecutor(4) as executor:
        played = list(executor.map(play, games))
    assert all(screens == played[0] for screens in played[1:])
    for game in games:
        game.close()


def test_a_forked_child_leaves_the_parents_game_alone():
    code = """
        import os, sys
        from metagym.envs.minihack.env import MiniHackTextEnv

        def text(seed):
            return env.reset(options={"task_id": f"MiniHack-Room-5x5-v0/{seed}"})[0]

        env = MiniHackTextEnv()
        first = text(1)
        folder = env._game._env.nethack._vardir
        child = os.fork()
        if child == 0:
            ok = text(1) == first and env._game._env.nethack._vardir != folder
            sys.exit(0 if ok else 7)  # runs the finalizers
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == 0, status
        assert os.path.isdir(folder)
        assert text(1) == first
        env.close()
        assert not os.path.exists(folder)
    """
    assert run(code) == (0, "", "")


def test_a_forgotten_close_is_silent():
    code = """
        from metagym.envs.minihack.env import MiniHackTextEnv
        env = MiniHackTextEnv()
        env.reset(seed=1)
    """
    assert run(code) == (0, "", "")
    assert run(code, "-W", "error::DeprecationWarning") == (0, "", "")


def test_pkg_resources_is_not_needed_and_not_left_behind():
    code = """
        import sys
        {before}
        from metagym.envs.minihack.engine import import_minihack
        assert import_minihack().__name__ == "minihack"
        assert ("pkg_resources" in sys.modules) is {expected}
    """
    assert run(code.format(before="", expected=False)) == (0, "", "")
    absent = "class Absent:\n            def find_spec(self, name, *rest):\n"
    absent += "                if name == 'pkg_resources': raise ModuleNotFoundError(name)\n"
    absent += "        sys.meta_path.insert(0, Absent())"
    assert run(code.format(before=absent, expected=False)) == (0, "", "")


def test_a_missing_package_says_what_to_install():
    code = """
        import importlib.util
        real = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == "nle" else real(name)
        from metagym.envs.minihack.env import MiniHackTextEnv
        from metagym.errors import MissingExtraError
        try:
            MiniHackTextEnv().reset()
        except MissingExtraError as error:
            print(error)
    """
    returncode, out, err = run(code)
    assert (returncode, err) == (0, "")
    assert "Expected the package 'nle', which is not installed. Run: pip install " in out
    assert "metagym[" not in out


@pytest.mark.slow
def test_many_games_live_in_one_process():
    before = num_descriptors()
    games = [NetHackGame(ROOM) for _ in range(40)]
    for seed, game in enumerate(games):
        game.start(seed)
    screens = [game.screen() for game in games]
    assert len({screen.map_text for screen in screens}) > 10
    for game in games:
        game.close()
    assert num_descriptors() == before
