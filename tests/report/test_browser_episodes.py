"""Episodes in a real Chromium, driven by keys and clicks."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metagym.actor import ChatActor
from metagym.runs import RunFolder
from metagym.runs.notes import add_note
from metagym.testing import FakeChatModel
from metagym.types import Message, Observation
from tests.conftest import MakeGates
from tests.report.chromium import BROWSER, Seen, Show
from tests.report.conftest import WriteRun, manifest, on_map, played

pytestmark = BROWSER


def test_keys_step_through_an_episode_and_from_one_to_the_next(show: Show, with_maps: Path) -> None:
    seen = show([with_maps], "#/episode/1")
    assert seen.text("#episode h1").startswith("Episode 1: law-0000/1")
    assert seen.page.inner_text(".map") == "-----\n|.@.|\n|..>|\n-----"
    assert seen.page.inner_text(".map .hero") == "@"
    seen.press("ArrowRight", "#/episode/1/step/2")
    assert "thought 2" in seen.text(".stage")
    assert seen.page.evaluate("[...document.querySelectorAll('.map .hero')].map(one => one.textContent)") == ["."]
    seen.press("ArrowRight", "#/episode/1/step/3")
    assert "The last observation" in seen.text(".stage")
    seen.press("ArrowLeft", "#/episode/1/step/2")
    seen.press("ArrowDown", "#/episode/2")
    assert seen.text("#episode h1").startswith("Episode 2: law-0000/2")
    seen.press("ArrowUp", "#/episode/1")


def test_the_map_keeps_its_colours_and_its_place(show: Show, write_run: WriteRun) -> None:
    first = on_map(1, hero=[(6, 31)]).steps[0]
    corridor = {"top": 4, "left": 28, "chars": ["#######"], "colors": ["3333333"], "hero": [4, 28]}
    second = first.model_copy(update={"observation": Observation(text="", display=corridor)})
    seen = show([write_run([[played(1, first, second, final_observation=None)]])], "#/episode/1/step/1")
    assert seen.page.text_content(".map").split("\n") == ["       ", "  -----", "  |.@.|", "  |..>|", "  -----"]
    assert seen.page.inner_text(".map .c3") == ">"
    assert seen.page.evaluate("getComputedStyle(document.querySelector('.map .c3')).color") == "rgb(201, 154, 91)"
    seen.press("ArrowRight", "#/episode/1/step/2")
    assert seen.page.text_content(".map").split("\n") == ["#######", *["       "] * 4]


def test_a_deep_link_lands_on_its_step(show: Show, learning: Path) -> None:
    seen = show([learning], "#/episode/3/step/2")
    assert seen.text(".turn[aria-current]").startswith("2 An iron gate.")
    assert seen.text(".strip [aria-current]") == "2+"
    seen.go("#/episode/99")
    assert seen.place == "#/episodes"


def test_an_invalid_action_is_marked_by_a_sign_and_not_by_colour_alone(show: Show, learning: Path) -> None:
    seen = show([learning], "#/episode/3/step/1")
    assert seen.text(".strip button:first-child") == "1⊘"
    assert "⊘ no action could be read" in seen.text(".turn[aria-current]")
    assert "⊘ Invalid, not executed" in seen.text(".turn[aria-current]")
    seen.go("#/episode/6")
    assert "! infrastructure error" in seen.text("#episode")
    assert "the road is closed" in seen.text(".outcome")


def test_the_filters_filter_and_the_place_remembers_them(show: Show, learning: Path) -> None:
    seen = show([learning], "#/episodes")

    def rows(then: int) -> list[str]:
        seen.page.wait_for_function("count => document.querySelectorAll('#list tbody tr').length === count", arg=then)
        return [row.inner_text() for row in seen.page.query_selector_all("#list tbody tr td:first-child")]

    assert len(rows(6)) == 6
    seen.page.select_option("[name=outcome]", "error")
    assert rows(1) == ["6"]
    seen.page.select_option("[name=outcome]", "failure")
    assert rows(3) == ["1", "2", "4"]
    seen.page.select_option("[name=index]", "1")
    assert rows(1) == ["4"]
    assert seen.place == "#/episodes?outcome=failure&index=1"
    seen.page.click("[type=reset]")
    assert len(rows(6)) == 6
    seen.page.select_option("[name=invalid]", "some")
    assert rows(1) == ["3"]
    seen.page.click("[type=reset]")
    seen.page.fill("[name=text]", "IRON gate")
    assert rows(1) == ["3"]
    assert "1 of 6 episodes" in seen.text("#found")
    seen.page.click("#list tbody tr")
    seen.page.wait_for_selector("#episode h1")
    assert seen.place == "#/episode/3"
    assert "1 of 1" in seen.text(".tools")


def first_column(seen: Seen) -> list[str]:
    return [cell.inner_text() for cell in seen.page.query_selector_all("#list tr[data-go] td:first-child")]


def test_every_column_sorts_the_list_and_a_second_click_turns_it(show: Show, learning: Path) -> None:
    seen = show([learning], "#/episodes")
    for number, column in enumerate(seen.page.eval_on_selector_all("#list th", "all => all.map(one => one.innerText)")):
        seen.page.click(f"#list th:nth-child({number + 1}) button")
        up = first_column(seen)
        seen.page.click(f"#list th:nth-child({number + 1}) button")
        assert seen.page.get_attribute(f"#list th:nth-child({number + 1})", "aria-sort"), column
        assert sorted(up) == sorted(first_column(seen)) == list("123456"), column
    seen.go("#/episodes?sort=-score")
    assert first_column(seen) == list("351246")  # an episode without a score is last in both directions
    seen.press("/", "#/episodes?sort=-score")


def test_the_list_is_grouped_with_the_mean_score_of_each_family(show: Show, campaign: Path) -> None:
    seen = show([campaign], "#/episodes?group=family&phase=learning")
    groups = [row.inner_text() for row in seen.page.query_selector_all("#list .grouped")]
    assert [group.split()[0] for group in groups] == ["law-0007", "law-0500"]
    assert all("81 episodes · mean score 0." in group for group in groups)
    seen.page.select_option("[name=group]", "run")
    assert len(seen.page.query_selector_all("#list .grouped")) == 3


def test_what_is_filtered_can_be_taken_as_csv(show: Show, write_run: WriteRun) -> None:
    batch = [played(number, success=number > 1, stop_detail=f"=1+{number}, so it is") for number in (1, 2, 3)]
    seen = show([write_run([batch])], "#/episodes?outcome=success&sort=-%23")
    with seen.page.expect_download() as download:
        seen.page.click("#csv")
    rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
    assert [(row["#"], row["outcome"], row["task"]) for row in rows] == [
        ("3", "success", "law-0000/3"),
        ("2", "success", "law-0000/2"),
    ]
    assert rows[0]["ended by"].endswith("=1+3, so it is")
    assert {row["number in the log"] for row in rows} == {"1", "2"}


def test_all_episodes_of_a_prompt_are_one_click_away(show: Show, learning: Path) -> None:
    seen = show([learning])
    seen.page.click(".version:nth-child(2) .links a")
    seen.page.wait_for_selector("#list tr[data-go]")
    assert seen.place == "#/episodes?run=0&prompt=1"
    assert first_column(seen) == ["3", "4"]


def test_a_note_is_kept_in_the_folder_and_shown_beside_its_episode(show: Show, learning: Path) -> None:
    with RunFolder.open(learning) as run:
        add_note(run, 3, "<b>forgets</b> the iron gate")
    seen = show([learning], "#/episodes?text=forgets")
    seen.page.wait_for_selector("#list tr[data-go]")
    assert first_column(seen) == ["4"]
    seen.page.click("#list tr[data-go]")
    seen.page.wait_for_selector("#episode .notice")
    assert seen.text("#episode .notice") == "Note: <b>forgets</b> the iron gate"
    seen.page.click("#episode summary:has-text('Write a note')")
    seen.page.wait_for_selector("#episode code:has-text('metagym note')")  # it is written when it is unfolded
    assert f'metagym note {learning} 3 "TEXT"' in seen.text("#episode")


def test_the_same_task_is_shown_side_by_side_under_two_prompts(show: Show, campaign: Path) -> None:
    seen = show([campaign], "#/compare")
    panes = [pane.inner_text() for pane in seen.page.query_selector_all(".stage.both > .pane")]
    assert "failure" in panes[0]
    assert "success" in panes[1]
    place = seen.page.evaluate("[...document.querySelectorAll('.stage.both h2 a')].map(one => one.hash.split('/')[2])")
    seen.press("ArrowRight", f"#/compare/{place[0]}/{place[1]}/step/2")
    assert seen.page.get_attribute(".stage.both", "data-step") == "2"
    for summary in seen.page.query_selector_all(".stage.both summary:has-text('the other side lacks')"):
        summary.click()
    assert "when the gate is" in seen.text(".stage.both ins")


def test_a_step_shows_its_tokens_and_how_long_the_model_took(show: Show, called: Path) -> None:
    seen = show([called], "#/episode/1/step/2")
    assert re.search(r"reward 0 \d+ \+ 2 tokens 0\.\d\d s", seen.text(".turn[aria-current] .decided"))
    seen.page.click(".turn[aria-current] summary:has-text('Raw completion')")
    assert re.search(r"replied in 0\.\d\d s", seen.text(".turn[aria-current] .raw"))


class Counted(FakeChatModel):
    """A model with a small window, whose fingerprint says how long a reply may be."""

    max_reply_tokens = 40

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.fingerprint = {"kind": "FakeChatModel", "sampling": {"max_tokens": 40}}

    @staticmethod
    def _reply(messages: Sequence[Message], call: Any) -> str:
        turn = sum(message["role"] == "assistant" for message in messages)
        return (
            "nothing to read" if turn == 1 else f"Thought: turn {turn}, naïve ☃\nAction: {('push', 'dance')[turn % 2]}"
        )


@pytest.mark.parametrize(
    "options",
    [{}, {"history_steps": 2}, {"context_tokens": 420}, {"list_actions": False, "context_tokens": 300}],
    ids=str,
)
def test_the_messages_are_those_that_the_actor_sent(
    show: Show, make_gates: MakeGates, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = Counted()
    env = make_gates(ChatActor(model, **options), episodes_per_step=1, max_steps=6)
    with RunFolder.create(tmp_path / "chat", manifest(measurement=env.fingerprint)) as run:
        env.record_to(run)
        env.reset(seed=0)
        env.step("Push.")
    seen = show([tmp_path / "chat"], "#/episode/1/step/1")
    steps = len(model.calls)
    assert steps > 3
    for position, (messages, _) in enumerate(model.calls, start=1):
        if position > 1:
            seen.press("ArrowRight", f"#/episode/1/step/{position}")
        seen.page.click(".turn[aria-current] summary:has-text('Messages sent')")
        seen.page.wait_for_selector(".messages")
        shown = seen.page.evaluate(
            "[...document.querySelectorAll('.messages .message')].map(one => "
            "({role: one.querySelector('b').textContent, content: one.querySelector('.text').textContent}))"
        )
        assert shown == messages
        seen.page.click(".turn[aria-current] summary:has-text('Raw completion')")
        assert model._replies(messages, None).split("\n")[0] in seen.text(".turn[aria-current] .raw:not(.messages)")
