"""Trajectories as text: complete, within a limit, with a note for each cut, and without a name of the task."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagym.rendering import CHARACTERS_PER_TOKEN, render_batch, render_outcome, render_trajectory, visible
from metagym.types import Action, Observation, StopReason
from tests.adapter.playing import called, play_scales
from tests.conftest import SRC, make_episode, make_step, make_task, make_trajectory, reply


def walk(num_steps: int, size: int = 10, **fields: Any) -> Any:
    steps = [make_step(f"Room {n}. " + "x" * size, f"go {n}", goal="Get out.") for n in range(1, num_steps + 1)]
    return make_trajectory(steps, **fields)


def test_a_trajectory_shows_each_observation_before_its_action_and_the_end() -> None:
    steps = [make_step("A door.", "knock", goal="Get out."), make_step("An open door.", "go", reward=1.0)]
    assert render_trajectory(make_trajectory(steps, stop_detail="got out")) == (
        "Goal: Get out.\n"
        "[Step 1] Observation: A door.\n"
        "Action: knock\n"
        "[Step 2] Observation: An open door.\n"
        "Action: go\n"
        "[End] Observation: It is over.\n"
        "Outcome: Success. Total reward 1; the environment ended the episode (got out)."
    )


def test_a_batch_is_numbered() -> None:
    text = render_batch([walk(1), walk(1)])
    assert re.findall(r"=== .* ===", text) == ["=== Episode 1 of 2 ===", "=== Episode 2 of 2 ==="]
    assert render_batch([]) == ""


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (StopReason.TERMINATED, "the environment ended the episode"),
        (StopReason.TRUNCATED, "the environment's time limit was reached"),
        (StopReason.STEP_LIMIT, "the limit of 3 steps was reached"),
        (StopReason.CONTEXT_OVERFLOW, "the conversation grew too long for the agent"),
        (StopReason.ERROR, "the environment failed, not the agent; this episode does not count"),
    ],
)
def test_the_text_says_why_the_episode_ended(reason: StopReason, text: str) -> None:
    assert text in render_outcome(walk(3, stop_reason=reason))


def test_the_text_names_a_death() -> None:
    trajectory = walk(3, stop_reason=StopReason.TERMINATED, success=False, stop_detail="died")
    outcome = render_outcome(trajectory)
    assert outcome == "Outcome: Failure. Total reward 0; the environment ended the episode (died)."


def test_a_reward_without_success_is_shown_as_a_failure() -> None:
    trajectory = make_trajectory([make_step(reward=0.5)], success=False)
    assert "Failure. Total reward 0.5" in render_outcome(trajectory)


def test_success_is_not_shown_if_the_environment_does_not_report_it() -> None:
    outcome = render_outcome(make_trajectory([make_step(reward=0.5)], success=None))
    assert outcome == "Outcome: Total reward 0.5; the environment ended the episode."


def test_show_outcome_false_hides_success_reward_and_reason() -> None:
    text = render_trajectory(walk(2), show_outcome=False)
    assert not [word for word in ("Outcome", "Success", "eward", "ended") if word in text]


def test_thoughts_and_available_actions_are_shown_on_demand() -> None:
    step = make_step(available_actions=("knock", "push"))
    step = step.model_copy(update={"action": Action(text="knock", thought="It is shut.")})
    trajectory = make_trajectory([step])
    assert "Thought: It is shut." in render_trajectory(trajectory, show_thoughts=True)
    assert "Available actions: knock, push" in render_trajectory(trajectory, show_actions=True)
    plain = render_trajectory(trajectory)
    assert "Thought" not in plain
    assert "Available" not in plain


def test_an_invalid_action_is_shown_with_its_raw_reply_and_its_problem() -> None:
    action = Action(text=None, problem="Your reply holds no line 'Action:'.", completion=reply("north!"))
    step = make_step().model_copy(update={"action": action, "command": None, "is_valid": False})
    text = render_trajectory(make_trajectory([step]))
    assert "Action: north!\nInvalid (not executed): Your reply holds no line 'Action:'." in text


def test_an_invalid_action_that_was_executed_is_shown_as_such() -> None:
    step = make_step(action="fly").model_copy(update={"is_valid": False})
    assert "Action: fly\nInvalid (executed all the same)" in render_trajectory(make_trajectory([step]))


def test_events_of_the_environment_are_shown() -> None:
    step = make_step().model_copy(update={"events": ("y", "ESC")})
    assert "Done by the environment itself: y, ESC" in render_trajectory(make_trajectory([step]))


# The limit --------------------------------------------------------------------------------------------

texts = st.text(st.sampled_from("ab \n"), max_size=60).flatmap(lambda text: st.integers(1, 80).map(lambda n: text * n))
steps = st.builds(
    lambda text, action, thought, valid: make_step(text, goal="g").model_copy(
        update={"action": Action(text=action or "x", thought=thought, problem=thought), "is_valid": valid}
    ),
    texts,
    texts,
    texts,
    st.booleans(),
)
trajectories = st.builds(
    lambda steps, final, goal: make_trajectory(
        [step.model_copy(update={"observation": Observation(text=step.observation.text, goal=goal)}) for step in steps],
        final_observation=Observation(text=final, goal=goal),
    ),
    st.lists(steps, max_size=8),
    texts,
    texts,
)


@given(trajectories, st.integers(100, 3_000))
@settings(max_examples=150)
def test_a_rendered_trajectory_keeps_its_limit(trajectory: Any, max_tokens: int) -> None:
    text = render_trajectory(trajectory, max_tokens=max_tokens, show_thoughts=True, show_actions=True)
    assert len(text) <= max_tokens * CHARACTERS_PER_TOKEN


@given(st.lists(trajectories, min_size=1, max_size=6), st.integers(100, 1_000))
@settings(max_examples=50)
def test_a_rendered_batch_keeps_its_limit(batch: Any, tokens_each: int) -> None:
    text = render_batch(batch, max_tokens=tokens_each * len(batch), show_thoughts=True)
    assert len(text) <= tokens_each * len(batch) * CHARACTERS_PER_TOKEN


def test_a_trajectory_that_fits_is_not_cut() -> None:
    trajectory = walk(20)
    uncut = render_trajectory(trajectory)
    assert render_trajectory(trajectory, max_tokens=len(uncut) // CHARACTERS_PER_TOKEN + 1) == uncut


def test_the_cut_leaves_out_steps_from_the_middle_and_says_how_many() -> None:
    text = render_trajectory(walk(40, size=60), max_tokens=250)
    kept = [int(number) for number in re.findall(r"\[Step (\d+)\]", text)]
    cut = re.search(r"\[\.\.\. (\d+) steps left out \.\.\.\]", text)
    assert cut is not None
    assert kept[0] == 1
    assert kept[1:] == list(range(40 - len(kept) + 2, 41))
    assert len(kept) + int(cut[1]) == 40
    assert all(f"Action: go {number}" in text for number in kept)


def test_a_long_observation_loses_its_middle_and_the_cut_says_how_much() -> None:
    trajectory = make_trajectory([make_step("a" * 5_000 + "b" * 5_000)])
    text = render_trajectory(trajectory, max_tokens=200)
    cut = re.search(r"(a+) \[\.\.\. (\d+) characters left out \.\.\.\] (b+)", text)
    assert cut is not None
    assert "[Step 1] Observation: aaaa" in text
    assert "Action: open" in text
    assert 9_000 < int(cut[2]) < 10_000


def test_a_cut_always_keeps_the_outcome() -> None:
    text = render_trajectory(walk(40, size=300, stop_detail="got out"), max_tokens=120)
    assert "Outcome: Success." in text


def test_episodes_share_the_limit_evenly() -> None:
    long, short = walk(50, size=100), walk(1)
    alone = render_trajectory(long, max_tokens=490)
    text = render_batch([long, short], max_tokens=1_000)
    assert abs(len(text.split("=== Episode 2")[0]) - len(alone)) < 200


def test_no_name_of_the_task_is_in_the_text() -> None:
    task = make_task("canary-id", family="canary-family", split="canary-split", seed=987_654_321, source="canary-s")
    trajectory = walk(3, episode=make_episode("canary-prompt", task, seed=123_454_321, arm="canary-arm"))
    text = render_batch([trajectory], show_thoughts=True, show_actions=True)
    assert not [word for word in ("canary", "987654321", "123454321") if word in text]


# Invisible characters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext, naïve, 漢字, 🙂", "plain\n\ttext, naïve, 漢字, 🙂"),
        ("a\x00b\x1b[31mc\x7f", "a␀b␛[31mc␡"),
        ("pay \u202eelif.exe\u2069", "pay [U+202E]elif.exe[U+2069]"),
        ("Be brave.\U000e0068\U000e0069", "Be brave.[U+E0068][U+E0069]"),
        ("a\u200bb\ufeff\u2028c\r\n", "a[U+200B]b[U+FEFF][U+2028]c␍\n"),
    ],
)
def test_invisible_characters_get_a_sign(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_the_page_knows_the_same_characters() -> None:
    script = (SRC / "report" / "static" / "script" / "elements.js").read_text(encoding="utf-8")
    found = re.search(r"HIDDEN = /\[(.*)\]/gu", script)
    assert found is not None
    in_page = re.compile("[" + re.sub(r"\\u\{(\w+)\}", lambda code: chr(int(code[1], 16)), found[1]) + "]")
    differ = [code for code in range(0xE0200) if (visible(chr(code)) != chr(code)) != bool(in_page.match(chr(code)))]
    assert differ == []


@given(st.text())
def test_one_line_of_any_text_is_printable(text: str) -> None:
    shown = visible(text, one_line=True)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


def test_a_call_is_shown_as_a_call_with_its_result_below() -> None:
    trajectory, *_ = play_scales(called("First both.", "a", "z"), called("", "b"), "a", "b")
    assert render_trajectory(trajectory).splitlines()[1:8] == [
        "[Step 1] Observation: Two parcels of the kind x.",
        'Action: weigh(parcel="a")',
        '[Step 2] Observation: {"name":"a","weight":18}',
        'Action: weigh(parcel="z")',
        "[Step 3] Observation: Error: There is no parcel 'z'.",
        'Action: weigh(parcel="b")',
        '[Step 4] Observation: {"name":"b","weight":23}',
    ]
