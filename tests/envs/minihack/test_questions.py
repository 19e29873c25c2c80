from __future__ import annotations

import random
import re

import pytest

from metagym.envs.minihack.commands import COMMANDS, ENTER, commands_for
from metagym.envs.minihack.engine import NetHackGame
from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.questions import Question, read_question
from metagym.envs.minihack.screen import Screen

pytestmark = pytest.mark.minihack

READ, EAT = "MiniHack-Read-Fixed-v0/1", "MiniHack-Eat-Fixed-v0/1"
DIRECTIONS = tuple(f"direction {name}" for name in ("n", "e", "s", "w", "ne", "se", "sw", "nw"))


def play(env, task_id, *commands):
    """Play the commands; return the last (text, reward, terminated, truncated, info)."""
    env.reset(options={"task_id": task_id})
    for command in commands:
        returned = env.step(command)
        assert not returned[0].startswith("Unknown command"), returned[0]
    return returned


def asking(message, **changes):
    terminal = changes.pop("terminal", (message,) + ("",) * 23)
    known = changes.pop("map", ("",) * 21)
    values = {"terminal_bytes": "".join(line.ljust(80) for line in terminal).encode()}
    values |= {"map_bytes": "".join(line.ljust(79) for line in known).encode()}
    values |= {"message": message, "inventory": ()}
    values |= {
        "hero": (5, 5),
        "stats": (0,) * 27,
        "asks_question": True,
        "asks_text": False,
        "waits_for_key": False,
    }
    return Screen(**(values | changes))


TO_SCROLL = ("step nw", "step nw", "pick up")


def test_the_agent_answers_an_item_question(env):
    text, *_, info = play(env, READ, *TO_SCROLL, "read")
    assert "Message: What do you want to read? [f or ?*]" in text
    assert info["available_actions"] == ("item f", "list items", "cancel")
    text, reward, terminated, _, info = env.step("item f")
    assert "This scroll seems to be blank." in text
    assert (reward, terminated, info["outcome"]) == (1.0, True, "reached the goal")


def test_cancel_leaves_the_question(env):
    *_, info = play(env, READ, *TO_SCROLL, "read", "cancel")
    assert "step n" in info["available_actions"]
    assert info["events"] == ()


def test_auto_answer_answers_and_lists_its_answers(pool):
    env = MiniHackTextEnv(pool=pool, auto_answer=True)
    *_, info = play(env, READ, *TO_SCROLL, "read")
    assert info["success"]
    assert info["events"] == ("What do you want to read? [f or ?*] -> item f",)
    env.close()


def test_a_step_gives_at_most_fifty_automatic_answers(pool, monkeypatch):
    """NetHack may ask again after every answer; a step ends all the same, and the next one goes on."""
    always = Question("more", {"continue": (ENTER,)}, "continue")
    monkeypatch.setattr("metagym.envs.minihack.env.read_question", lambda screen, **state: always)
    env = MiniHackTextEnv(pool=pool, auto_answer=True)
    env.reset(options={"task_id": READ})
    for _ in range(2):
        *_, terminated, truncated, info = env.step("continue")
        assert len(info["events"]) == 50
        assert info["available_actions"] == ("continue",)
        assert (terminated, truncated) == (False, False)
    env.close()


def test_an_answer_is_unknown_if_nothing_is_asked(env):
    env.reset(options={"task_id": READ})
    assert env.step("item f")[0].startswith("Unknown command 'item f'")


def test_a_command_is_unknown_while_a_question_is_open(env):
    play(env, READ, "throw")
    text, *_, info = env.step("step n")
    assert text.startswith("Unknown command 'step n': nothing was done. Available: item a")
    assert "item a" in info["available_actions"]


def test_a_prefix_asks_for_a_direction(env):
    *_, info = play(env, READ, "fight")
    assert info["available_actions"] == (*DIRECTIONS, "cancel")
    text, *_, info = env.step("direction w")
    assert "You attack thin air." in text
    assert "fight" in info["available_actions"]


def test_the_agent_answers_a_direction_question(env):
    text, *_, info = play(env, READ, "kick")
    assert "In what direction?" in text
    assert set(DIRECTIONS) < set(info["available_actions"])


def test_a_menu_shows_the_screen_and_offers_its_letters(env):
    text, *_, info = play(env, READ, "drop several")
    assert "Screen:\n" in text
    assert "Drop what type of items?" in text
    assert {"select A", "select a", "confirm", "cancel"} <= set(info["available_actions"])
    *_, info = env.step("cancel")
    assert "step n" in info["available_actions"]


def test_pages_of_text_can_be_turned_and_closed(env):
    text, *_, info = play(env, READ, "attributes")
    assert "Screen:\n" in text
    assert info["available_actions"] == ("next page", "previous page", "confirm", "cancel")
    assert env.step("next page")[0] != text
    *_, info = env.step("confirm")
    assert "step n" in info["available_actions"]


def test_a_line_of_text_takes_any_text(env):
    *_, info = play(env, READ, "engrave", "item -", "continue")
    assert info["available_actions"] == ("type Elbereth", "type x", "cancel")
    *_, info = env.step("type mind the gap")
    assert "step n" in info["available_actions"]
    env.step("look")
    assert 'You read: "mi' in env.step("continue")[0]


def test_cancel_leaves_a_line_of_text(env):
    *_, info = play(env, READ, "engrave", "item -", "continue", "cancel")
    while "step n" not in info["available_actions"]:
        *_, info = env.step("continue")


def test_a_position_is_chosen_by_the_cursor(env):
    text, *_, info = play(env, "MiniHack-Quest-Medium-v0/1", "jump")
    assert "Where do you want to jump?" in text
    assert {"cursor n", "cursor far se", "select", "cancel"} <= set(info["available_actions"])
    *_, info = env.step("cursor s")
    assert "select" in info["available_actions"]
    *_, info = env.step("cancel")
    assert "step n" in info["available_actions"]


def test_a_question_that_was_answered_is_marked(env):
    assert "[yn] (n) n (answered)" in play(env, READ, "pray", "no")[0]


def test_praying_and_drinking_need_a_yes(env):
    for task_id, command in (("MiniHack-Pray-Fixed-v0/1", "pray"), ("MiniHack-Sink-Fixed-v0/1", "quaff")):
        *_, info = play(env, task_id, "step nw", "step nw", command, "yes")
        assert info["success"]


def test_a_key_is_applied_step_by_step_and_never_in_a_hidden_loop(env):
    """MiniHack's own `apply` in KeyRoom walks at the door until it opens, unseen, or for ever."""
    *_, info = play(env, "MiniHack-KeyRoom-Fixed-S5-v0/1", "apply")
    assert any(name.startswith("item ") for name in info["available_actions"])


@pytest.mark.parametrize(
    ("message", "answers", "default"),
    [
        (
            "What do you want to wield? [- a-cf or ?*]",
            "item - item a item b item c item f list items",
            "item f",
        ),
        ("What do you want to tip? [*]", "list items", "cancel"),
        ("What do you want to write with? [- or ?*]", "item - list items", "cancel"),
        ("There is an apple here; eat it? [ynq] (n)", "yes no quit", "yes"),
        ("Really attack the gnome lord? [yn] (n)", "yes no", "no"),
        ("Which ring-finger, Right or Left? [rl]", "answer r answer l", "cancel"),
        ("Do you want to drop 3 of them? [yn#aq]", "yes no all quit", "yes"),
    ],
)
def test_choices_are_read_from_the_question(message, answers, default):
    question = read_question(asking(message))
    assert " ".join(question.answers) == f"{answers} cancel"
    assert question.default == default


def test_a_question_without_a_list_offers_what_is_held():
    question = read_question(asking("Which one?", inventory=(("a", "a club"),)))
    assert tuple(question.answers) == ("item a", "yes", "no", "cancel")


def test_a_direction_is_guessed_from_the_map():
    def guess(*lines):
        padded = [line.ljust(79) for line in lines] + [" " * 79] * (21 - len(lines))
        return read_question(asking("In what direction?", map=tuple(padded), hero=(1, 1))).default

    assert guess("...", ".@+", "...") == "direction e"
    assert guess("...", ".@.", "...", "....d") == "direction e"
    assert guess("...", ".@.", "..d") == "direction se"
    assert guess("...", "+@.", "..d") == "direction w"


def test_a_menu_of_several_pages_can_be_turned():
    terminal = ("   Weapons", "   a - a club", "   b + a dagger", "   (1 of 2)") + ("",) * 20
    question = read_question(asking("", terminal=terminal, waits_for_key=True, asks_question=False))
    assert tuple(question.answers) == (
        "select a",
        "select b",
        "next page",
        "previous page",
        "confirm",
        "cancel",
    )


def test_picking_up_from_a_pile_takes_all_by_default():
    terminal = ("   Pick up what?", "   a - a club", "   (end)") + ("",) * 21
    question = read_question(asking("", terminal=terminal, waits_for_key=True, asks_question=False))
    assert question.default == "select all"


def test_every_command_has_its_own_key():
    assert len(set(COMMANDS.values())) == len(COMMANDS)


def test_the_commands_are_those_of_the_family():
    for family, num in (
        ("MiniHack-Room-5x5-v0", 8),
        ("MiniHack-WoD-Easy-Restricted-v0", 11),
        (READ[:-2], 81),
    ):
        game = NetHackGame(family)
        assert len(commands_for(game.keys)) == num
        game.close()


@pytest.mark.parametrize(
    "family",
    ["Zap-Distr-v0", "Quest-Medium-v0", "KeyRoom-S5-v0", "LavaCross-Full-v0", "WoD-Medium-Restricted-v0"],
)
@pytest.mark.parametrize("auto_answer", [False, True])
def test_no_open_question_is_without_an_answer(pool, family, auto_answer):
    env = MiniHackTextEnv(pool=pool, auto_answer=auto_answer)
    choose = random.Random(family)
    _, info = env.reset(options={"task_id": f"MiniHack-{family}/5"})
    over = False
    for _ in range(250):
        is_command = "step n" in info["available_actions"]
        if re.search(r"--More--|\(end\)|\(\d+ of \d+\)", "\n".join(env.screen.terminal)) and not over:
            assert not is_command
        assert info["available_actions"]
        assert is_command or not auto_answer or over
        if over:
            break
        _, _, terminated, truncated, info = env.step(choose.choice(info["available_actions"]))
        over = terminated or truncated
    env.close()
