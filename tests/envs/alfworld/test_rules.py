"""The rules, with the quirks of stock ALFWorld that the native engine keeps."""

from __future__ import annotations

import pytest

from metagym.envs.alfworld.game import Game, NativeEngine, Turn
from metagym.envs.alfworld.grammar import Wording
from metagym.envs.alfworld.observations import listing
from metagym.envs.alfworld.pddl import PddlError, read_problem
from metagym.envs.alfworld.rules import Layout, number_names

PROBLEM = """
(define (problem p) (:domain alfred)
(:objects agent1 - agent  loc_bar_0 loc_bar_1 loc_bar_2 - location
  Mug_bar_1 Mug_bar_2 Knife_bar_1 Apple_bar_1 DeskLamp_bar_1 Plate_bar_1 - object
  Desk_bar_1 Drawer_bar_1 Microwave_bar_1 - receptacle
  MugType KnifeType AppleType PlateType - otype DeskType DrawerType MicrowaveType - rtype)
(:init (atLocation agent1 loc_bar_0)
  (receptacleAtLocation Desk_bar_1 loc_bar_1) (receptacleAtLocation Drawer_bar_1 loc_bar_1)
  (receptacleAtLocation Microwave_bar_1 loc_bar_2)
  (receptacleType Desk_bar_1 DeskType) (receptacleType Drawer_bar_1 DrawerType)
  (receptacleType Microwave_bar_1 MicrowaveType) (openable Drawer_bar_1) (openable Microwave_bar_1)
  (objectType Mug_bar_1 MugType) (objectType Mug_bar_2 MugType) (objectType Knife_bar_1 KnifeType)
  (objectType Apple_bar_1 AppleType) (objectType Plate_bar_1 PlateType)
  (pickupable Mug_bar_1) (pickupable Mug_bar_2) (pickupable Knife_bar_1) (pickupable Apple_bar_1)
  (pickupable Plate_bar_1) (isReceptacleObject Plate_bar_1) (inReceptacleObject Mug_bar_2 Plate_bar_1)
  (heatable Mug_bar_1) (coolable Mug_bar_1) (sliceable Apple_bar_1) (toggleable DeskLamp_bar_1)
  (canContain DeskType MugType) (canContain DrawerType MugType) (canContain MicrowaveType MugType)
  (inReceptacle Mug_bar_1 Desk_bar_1) (inReceptacle Mug_bar_2 Desk_bar_1) (inReceptacle Mug_bar_2 Drawer_bar_1)
  (inReceptacle Knife_bar_1 Desk_bar_1) (inReceptacle Apple_bar_1 Desk_bar_1) (inReceptacle Plate_bar_1 Desk_bar_1)
  (inReceptacle DeskLamp_bar_1 Desk_bar_1)
  (objectAtLocation Mug_bar_1 loc_bar_1) (objectAtLocation Apple_bar_1 loc_bar_1))
(:goal (and (exists (?o - object ?r - receptacle) (and (objectType ?o MugType) (receptacleType ?r MicrowaveType)
   (isHot ?o) (inReceptacle ?o ?r))))))
"""


NEW = Wording(help_text="Help!")


def play(*commands: str, wording: Wording = NEW) -> Turn:
    """Play the commands; each must be admissible."""
    engine = NativeEngine()
    turn = engine.start(Game("Your task is to: heat a mug.", Layout(read_problem(PROBLEM)), wording, ()))
    for command in commands:
        assert command in turn.commands, f"{command!r} not in {turn.commands}"
        turn = engine.step(command)
    return turn


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("(atLocation agent1 loc_bar_0)", "", "expected the agent at one location, got 0"),
        ("agent1 - agent", "agent1 agent2 - agent", "expected one agent, got 2"),
    ],
)
def test_a_problem_without_one_agent_in_one_place_is_refused(before: str, after: str, message: str) -> None:
    with pytest.raises(PddlError, match=message):
        Layout(read_problem(PROBLEM.replace(before, after)))


def test_names_count_down_over_the_sorted_ids() -> None:
    names = number_names({"mug_bar_1", "mug_bar_2", "sink_bar_1", "sink_bar_1_bar_sinkbasin", "agent1"})
    assert names == {
        "mug_bar_1": "mug 2",
        "mug_bar_2": "mug 1",
        "sink_bar_1": "sink 1",
        "sink_bar_1_bar_sinkbasin": "sinkbasin 1",
        "agent1": "agent1 ",
    }


def test_lists_have_a_comma_before_and() -> None:
    assert [listing(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "nothing",
        "a",
        "a, and b",
        "a, b, and c",
    ]


def test_the_first_observation_lists_the_room_and_look_there_sees_nothing() -> None:
    assert play().text == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
        "a desk 1, a drawer 1, and a microwave 1.\n\nYour task is to: heat a mug."
    )
    assert play("look").text == ("You are in the middle of a room. Looking quickly around you, you see nothing.")


def test_the_player_cannot_go_to_a_receptacle_at_its_location() -> None:
    commands = play("go to desk 1").commands
    assert "go to drawer 1" not in commands
    assert "go to desk 1" not in commands
    assert {"open drawer 1", "examine drawer 1", "go to microwave 1"} <= set(commands)


def test_commands_are_sorted_and_without_repeats() -> None:
    commands = play("go to desk 1", "open drawer 1").commands
    assert list(commands) == sorted(set(commands))


def test_only_a_held_object_can_be_examined() -> None:
    assert "examine mug 2" not in play("go to desk 1").commands
    assert play("go to desk 1", "take mug 2 from desk 1", "examine mug 2").text == (
        "There's nothing special about mug 2."
    )


def test_an_object_can_be_in_two_receptacles_and_is_taken_from_one() -> None:
    turn = play("go to desk 1", "open drawer 1", "take mug 1 from desk 1")
    assert turn.text == "You pick up the mug 1 from the desk 1."
    assert play("go to desk 1", "open drawer 1", "take mug 1 from desk 1", "examine drawer 1").text == (
        "The drawer 1 is open. In it, you see a mug 1."
    )


def test_an_object_moved_within_a_location_is_listed_beside_it() -> None:
    moved = ("go to desk 1", "open drawer 1", "take mug 2 from desk 1", "move mug 2 to drawer 1")
    assert play(*moved, "look").text == "You are facing the desk 1, and drawer 1. Next to it, you see a mug 2."
    assert play("go to desk 1", "look").text == "You are facing the desk 1, and drawer 1. Next to it, you see nothing."


def test_a_tool_need_not_be_open() -> None:
    heated = ("go to desk 1", "take mug 2 from desk 1", "go to microwave 1", "heat mug 2 with microwave 1")
    assert play(*heated).text == "You heat the mug 2 using the microwave 1."
    assert play(*heated, "examine mug 2").text == "This is a hot mug 2."
    assert "move mug 2 to microwave 1" not in play(*heated).commands
    won = play(*heated, "open microwave 1", "move mug 2 to microwave 1")
    assert won == Turn("You move the mug 2 to the microwave 1.", won.commands, True, 1.0)


def test_a_lamp_can_be_turned_on_again() -> None:
    assert play("go to desk 1", "use desklamp 1", "use desklamp 1").text == "You turn on the desklamp 1."


def test_slicing_needs_a_knife_and_is_shown() -> None:
    sliced = ("go to desk 1", "take knife 1 from desk 1", "slice apple 1 with knife 1")
    assert play(*sliced).text == "You sliced the apple 1 with the knife 1."


def test_examining_a_plate_lists_its_contents() -> None:
    assert play("go to desk 1", "take plate 1 from desk 1", "examine plate 1").text == (
        "This is a normal plate 1. In it, you see a mug 1."
    )


def test_a_command_that_is_not_admissible_changes_nothing() -> None:
    engine = NativeEngine()
    first = engine.start(Game("Your task is to: heat a mug.", Layout(read_problem(PROBLEM)), Wording(), ()))
    for command in ("", "dance", "LOOK", "take mug 2 from desk 1", "help"):
        assert engine.step(command) == Turn("Nothing happens.", first.commands, False, 0.0)
    assert engine.step("  go to desk 1 ").text.startswith("You arrive at desk 1. On the desk 1, you see")


def test_a_game_is_played_in_its_own_spelling() -> None:
    old = Wording(
        arrive="You arrive at {lend}.",
        put_command="put {o} in/on {r}",
        put_feedback="You put the {o} in/on the {r}.",
    )
    turn = play("go to desk 1", "take mug 2 from desk 1", "put mug 2 in/on desk 1", wording=old)
    assert turn.text == "You put the mug 2 in/on the desk 1."
    assert play("go to desk 1", wording=old).text.startswith("You arrive at loc 2. On the desk 1")
    assert "help" not in turn.commands
    assert old.spelling == "put"
