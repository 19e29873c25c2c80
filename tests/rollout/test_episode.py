"""One episode: the agent's mistakes are data, and only available actions are executed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym import ChatActor
from metagym.rollout import match_command
from metagym.testing import FakeChatModel, ScriptedActor
from metagym.types import Action, StopReason
from tests.conftest import CorridorEnv
from tests.rollout.playing import EAST, play

pytestmark = pytest.mark.timeout(30)

# One episode ------------------------------------------------------------------------------------------


def test_an_episode_is_recorded_step_by_step() -> None:
    trajectory = play(EAST)
    assert [step.observation.text for step in trajectory.steps] == [f"Field {n} of 4." for n in (1, 2, 3)]
    assert [step.command for step in trajectory.steps] == ["east"] * 3
    assert [step.reward for step in trajectory.steps] == [0.0, 0.0, 1.0]
    assert trajectory.final_observation is not None
    assert trajectory.final_observation.text == "Field 4 of 4."
    assert (trajectory.success, trajectory.score, trajectory.stop_reason) == (True, 1.0, StopReason.TERMINATED)


def test_observation_and_available_actions_are_those_before_the_action() -> None:
    class Changing(CorridorEnv):
        def _info(self) -> dict[str, Any]:
            return {**super()._info(), "available_actions": ("east", f"look at {self._field}")}

    trajectory = play(EAST, Changing)
    assert [step.observation.available_actions for step in trajectory.steps] == [
        ("east", f"look at {field}") for field in (1, 2, 3)
    ]


def test_goal_and_display_reach_the_observation() -> None:
    display = {"colours": [1, 2]}
    trajectory = play(EAST, lambda: CorridorEnv(info={"display": display}))
    observation = trajectory.steps[0].observation
    assert (observation.goal, observation.display) == ("Go to the last field.", display)


def test_events_of_the_environment_are_recorded() -> None:
    trajectory = play(EAST, lambda: CorridorEnv(info={"events": ("y", "ESC")}))
    assert trajectory.steps[0].events == ("y", "ESC")


@pytest.mark.parametrize("text", ["fly", "eastt", "e", "", "  ", "Action: east", "east.", "step east"])
def test_an_action_that_is_not_available_is_data_and_is_not_executed(text: str) -> None:
    envs: list[CorridorEnv] = []

    def make() -> CorridorEnv:
        envs.append(CorridorEnv())
        return envs[-1]

    trajectory = play(ScriptedActor([text, "east"]), make)
    first, second = trajectory.steps[:2]
    assert (first.command, first.is_valid, first.reward, first.action.text) == (None, False, 0.0, text)
    assert second.observation.feedback
    assert second.observation.model_copy(update={"feedback": ""}) == first.observation
    assert second.is_valid
    assert envs[0].commands == ["east"] * 3
    assert trajectory.num_invalid == 1


def test_feedback_names_the_mistake_and_then_disappears() -> None:
    steps = play(ScriptedActor(["fly", Action(text=None, problem="No action."), "", "east"])).steps
    assert [step.observation.feedback for step in steps[:5]] == [
        "",
        "'fly' is not an available action. Copy one of them letter by letter.",
        "No action. 2 actions in a row were not executed. Choose another one.",
        "Your action was empty. 3 actions in a row were not executed. Choose another one.",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [("eats", "'eats' is"), ("east, west", "'east, west' is"), ("e" * 9_000, f"'{'e' * 200}...' is")],
)
def test_feedback_names_the_nearest_action(text: str, named: str) -> None:
    feedback = play(ScriptedActor([text, "east"])).steps[1].observation.feedback
    such_as = "" if text.startswith("ee") else ", such as 'east'"
    assert feedback == f"{named} not an available action. Copy one of them letter by letter{such_as}."


def test_an_action_without_text_or_problem_is_reported_as_unreadable() -> None:
    steps = play(ScriptedActor([Action(text=None), "east"])).steps
    assert steps[1].observation.feedback == "Your reply could not be read."


def test_a_model_that_repeats_a_wrong_reply_is_not_asked_the_same_again() -> None:
    actor = ChatActor(FakeChatModel(["Action: fly"]))
    steps = play(actor, max_steps=6).steps
    asked = [actor.messages("", steps[:num], step.observation)[-1]["content"] for num, step in enumerate(steps)]
    assert len(set(asked)) == len(asked) == 6


def test_endless_bad_replies_end_at_max_steps() -> None:
    trajectory = play(ChatActor(FakeChatModel(["I will not."])), max_steps=7)
    assert (len(trajectory.steps), trajectory.stop_reason) == (7, StopReason.STEP_LIMIT)
    assert (trajectory.success, trajectory.score, trajectory.num_invalid) == (False, 0.0, 7)


def test_invalid_execute_hands_the_action_to_the_environment_and_records_that_it_was_invalid() -> None:
    trajectory = play(ScriptedActor(["fly", "east"]), invalid="execute")
    first, second = trajectory.steps[:2]
    assert (first.command, first.is_valid) == ("fly", False)
    assert second.observation.text == "Nothing happens. Field 1 of 4."
    assert second.observation.feedback == ""


def test_invalid_execute_executes_nothing_if_there_is_no_action() -> None:
    step = play(ScriptedActor([Action(text=None, problem="?"), "east"]), invalid="execute").steps[0]
    assert (step.command, step.is_valid) == (None, False)


def test_without_a_list_of_actions_any_text_is_tried() -> None:
    trajectory = play(ScriptedActor(["dance", "east"]), lambda: CorridorEnv(actions=None))
    assert (trajectory.steps[0].command, trajectory.steps[0].is_valid) == ("dance", True)


def test_the_executed_command_is_the_available_one_and_the_action_stays_as_given() -> None:
    step = play(ScriptedActor(["  EAST "])).steps[0]
    assert (step.action.text, step.command, step.is_valid) == ("  EAST ", "east", True)


# Matching ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "available", "command"),
    [
        ("go n", ("go n", "GO N"), "go n"),
        ("Go N", ("go n",), "go n"),
        ("  go \t n ", ("go n",), "go n"),
        ("go n", ("go  n",), "go  n"),
        ("go N", ("go n", "GO N"), None),
        ("go", ("go n",), None),
        ("go n.", ("go n",), None),
        ("'go n'", ("go n",), None),
        ("", ("go n",), None),
        ("", ("", "go n"), None),
        ("x", (), None),
        ("anything", None, "anything"),
        (" ", None, None),
    ],
)
def test_matching_is_exact_then_case_and_white_space_and_no_looser(
    text: str, available: tuple[str, ...] | None, command: str | None
) -> None:
    assert match_command(text, available) == command


@given(st.text(max_size=10), st.lists(st.text(max_size=10), max_size=5))
def test_nothing_is_ever_mapped_to_another_move(text: str, available: list[str]) -> None:
    command = match_command(text, available)
    assert command is None or command in available
    assert command is None or "".join(command.split()).casefold() == "".join(text.split()).casefold()


def test_a_command_that_is_listed_twice_is_still_one_command() -> None:
    assert match_command("GO", ("go", "go")) == "go"
