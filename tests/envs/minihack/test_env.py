from __future__ import annotations

import json
import random
import warnings

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.families import GROUPS
from metagym.errors import ConfigError, UnknownNameError

pytestmark = pytest.mark.minihack

ROOM = "MiniHack-Room-Random-5x5-v0"


def begin(env, task_id):
    return env.reset(options={"task_id": task_id})


def roll(env, task_id, num_steps=20):
    """Play a level at random, by a generator of the test's own; return everything that came back."""
    choose = random.Random(task_id)
    history = [begin(env, task_id)]
    for _ in range(num_steps):
        history.append(env.step(choose.choice(history[-1][-1]["available_actions"])))
        if history[-1][2] or history[-1][3]:
            break
    return history


@pytest.mark.parametrize("group", GROUPS)
def test_passes_gymnasiums_check(pool, group):
    env = MiniHackTextEnv(pool=pool, families=[GROUPS[group][0]], render_mode="ansi")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no spec: the env is made by its class
        check_env(env)


def test_the_text_shows_the_screen(env):
    text, info = begin(env, "MiniHack-Room-5x5-v0/1")
    assert text.splitlines() == [
        "Message: Hello Agent, welcome to NetHack! You are a chaotic male human Rogue.",
        "Map (rows 9-13, columns 36-40):",
        "@....",
        ".....",
        ".....",
        ".....",
        "....>",
        "You are at row 9, column 36.",
        "Inventory:",
        "a: a +0 short sword (weapon in hand)",
        "b: 6 +0 daggers (alternate weapon; not wielded)",
        "c: an uncursed +1 leather armor (being worn)",
        "d: an uncursed potion of sickness",
        "e: an uncursed lock pick",
        "f: an empty uncursed sack",
        "g: an uncursed blindfold",
        "Status: HP 12/12, energy 2/2, armor class 7, experience level 1, dungeon level 1, gold 0, turn 1, not hungry",
    ]
    assert info["goal"] == "Reach the stairs down (>)."
    assert info["available_actions"] == tuple(f"step {name}" for name in ("n", "e", "s", "w", "ne", "se", "sw", "nw"))
    assert info["success"] is False
    assert info["events"] == ()
    assert "outcome" not in info


def test_the_goal_is_reached_with_reward_1(env):
    begin(env, "MiniHack-Room-5x5-v0/1")
    for _ in range(3):
        _, reward, terminated, _, info = env.step("step se")
        assert (reward, terminated, info["success"]) == (0.0, False, False)
    text, reward, terminated, truncated, info = env.step("step se")
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert info["outcome"] == "reached the goal"
    assert "You are at row 13, column 40." in text
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("step n")


def test_the_goal_at_the_last_allowed_step_terminates_and_does_not_truncate(env):
    begin(env, "MiniHack-Room-5x5-v0/1")
    env._limit = 4
    for _ in range(4):
        _, _, terminated, truncated, info = env.step("step se")
    assert (terminated, truncated, info["outcome"]) == (True, False, "reached the goal")


def test_rewards_may_be_minihacks_own(pool):
    env = MiniHackTextEnv(pool=pool, rewards="minihack")
    begin(env, "MiniHack-Room-5x5-v0/1")
    assert env.step("step n")[1] == pytest.approx(-0.01)
    env.close()


def test_an_unknown_command_is_reported_and_does_not_reach_nethack(env):
    before, _ = begin(env, f"{ROOM}/7")
    for command in ("", "fly", "step", "x" * 1000, "é—", "step n; step n"):
        text, reward, terminated, truncated, info = env.step(command)
        assert text.startswith("Unknown command")
        assert text.endswith(before)
        assert (reward, terminated, truncated) == (0.0, False, False)
        assert info["available_actions"][0] == "step n"


def test_letter_case_and_white_space_do_not_matter(env):
    begin(env, f"{ROOM}/7")
    exact = env.step("step e")
    begin(env, f"{ROOM}/7")
    assert env.step(" Step  E ") == exact


def test_the_id_is_never_shown(env):
    for text, *_, info in roll(env, f"{ROOM}/3"):
        assert "MiniHack" not in text
        assert "MiniHack" not in repr(info)


def test_the_episode_is_truncated_at_minihacks_limit(env):
    begin(env, f"{ROOM}/7")
    for _ in range(99):
        assert env.step("nothing")[3] is False
    *_, truncated, info = env.step("nothing")
    assert truncated is True
    assert info["outcome"] == "not finished within 100 steps"


def test_parts_are_switchable(pool):
    env = MiniHackTextEnv(pool=pool, parts=["legend", "whole map"], goal="none", display=False)
    text, info = begin(env, "MiniHack-Room-5x5-v0/1")
    lines = text.splitlines()
    assert lines[0] == "Map (rows 0-20, columns 0-78):"
    assert lines[10] == " " * 36 + "@...."
    assert lines[-1] == "Legend: @ human rogue called Agent; > staircase down."
    assert info["goal"] == ""
    assert "display" not in info
    env.close()


def test_display_holds_the_map_and_its_colors(env):
    _, info = begin(env, "MiniHack-Room-5x5-v0/1")
    display = info["display"]
    assert display == {
        "top": 9,
        "left": 36,
        "chars": ["@....", ".....", ".....", ".....", "....>"],
        "colors": ["f7777", "77777", "77777", "77777", "77777"],
        "hero": [9, 36],
    }
    assert json.loads(json.dumps(display)) == display


def test_one_env_serves_many_families_and_a_level_is_always_the_same(env):
    ids = [f"{family}/{seed}" for seed in (1, 2) for family in (ROOM, "MiniHack-Room-Ultimate-5x5-v0")]
    first = [roll(env, task_id) for task_id in ids]
    again = [roll(env, task_id) for task_id in reversed(ids)]
    assert first == again[::-1]


def test_a_reused_game_equals_a_fresh_one(env):
    for seed in range(3):
        roll(env, f"MiniHack-Room-Ultimate-5x5-v0/{seed + 100}")
        used = roll(env, f"MiniHack-Room-Ultimate-5x5-v0/{seed}")
        fresh = MiniHackTextEnv()
        assert roll(fresh, f"MiniHack-Room-Ultimate-5x5-v0/{seed}") == used
        fresh.close()


def test_without_a_task_id_the_seed_draws_the_level(env):
    assert env.reset(seed=5) == env.reset(seed=5)
    assert env.reset(seed=5)[0] != env.reset(seed=6)[0]


def test_pythons_global_generator_is_neither_used_nor_changed(env):
    random.seed(1)
    state = random.getstate()
    first = begin(env, f"{ROOM}/3")
    assert random.getstate() == state
    random.seed(2)
    assert begin(env, f"{ROOM}/3") == first


def test_render_returns_the_last_text(pool):
    env = MiniHackTextEnv(pool=pool, render_mode="ansi")
    text, _ = begin(env, f"{ROOM}/3")
    assert env.render() == text
    env.close()
    env.close()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"families": ["MiniHack-Nowhere-v0"]}, "Unknown family"),
        ({"families": []}, "a non-empty list of names"),
        ({"families": "Room"}, "a list of names, got the text 'Room'"),
        ({"parts": ["smell"]}, "Unknown part of the text 'smell'"),
        ({"goal": "id"}, "Unknown goal 'id'"),
        ({"rewards": "score"}, "Unknown rewards"),
        ({"render_mode": "human"}, "Unknown render_mode"),
    ],
)
def test_wrong_arguments_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        MiniHackTextEnv(**options)


@pytest.mark.parametrize("task_id", ["", "5", f"{ROOM}/", f"{ROOM}/-1", f"{ROOM}/x", f"{ROOM}/{2**31}", "Room/1"])
def test_a_wrong_task_id_is_refused(env, task_id):
    with pytest.raises(UnknownNameError):
        begin(env, task_id)


def test_the_papers_task_line_shows_the_id(pool):
    env = MiniHackTextEnv(pool=pool, goal="paper_task_line")
    assert begin(env, f"{ROOM}/3")[1]["goal"] == f"play {ROOM}"
    env.close()


def outcome(pool, task_id, *commands, **options):
    env = MiniHackTextEnv(pool=pool, **options)
    begin(env, task_id)
    for command in commands * 400:
        _, reward, terminated, truncated, info = env.step(command)
        if terminated or truncated:
            break
    env.close()
    return info["outcome"], info["success"], reward, terminated


def test_the_outcome_of_a_death_names_its_cause(pool):
    assert outcome(pool, "MiniHack-LavaCross-Restricted-v0/1", "step e", auto_answer=True) == (
        "died: burned by molten lava",
        False,
        0.0,
        True,
    )


def test_starvation_has_its_own_outcome():
    env = MiniHackTextEnv(auto_answer=True)
    begin(env, "MiniHack-Read-Fixed-v0/1")
    for _ in range(400):
        for key in b"20":  # a count: search for 20 turns
            env._game.press(key)
        _, _, terminated, _, info = env.step("search")
        if terminated:
            break
        env._num_steps = 0
    env.close()
    assert info["outcome"] == "starved"


def test_a_squeak_in_memento_is_not_a_success(pool):
    """MiniHack ends Memento at the wrong end of the fork too, and calls it a success."""
    path = ["step e"] * 7 + ["step n"] * 30
    outcomes = {outcome(pool, f"MiniHack-Memento-Short-F2-v0/{seed}", *path) for seed in range(6)}
    assert outcomes == {("reached the goal", True, 1.0, True), ("failed", False, 0.0, True)}
