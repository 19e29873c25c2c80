"""Retrieval: only the items that fit goal and observation are sent, and all other text stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.actor import retrieve_items
from metagym.errors import ConfigError
from metagym.types import Observation

DOCUMENT = """\
# Lessons
- When you see a door, knock.
- In the kitchen, wash the plate.
  It must be clean.
1. A lamp gives light.
Always be polite."""


def read_document(top_k: int, text: str, goal: str = "") -> str:
    return retrieve_items(top_k)(DOCUMENT, goal, (), Observation(text=text))


def test_retrieval_keeps_the_items_that_share_words_with_goal_and_observation() -> None:
    assert read_document(1, "You see a DOOR.") == "# Lessons\n- When you see a door, knock.\nAlways be polite."
    assert "wash the plate.\n  It must be clean." in read_document(1, "nothing", goal="put the plate away")


def test_retrieval_keeps_all_other_text_and_the_order() -> None:
    assert read_document(0, "door") == "# Lessons\nAlways be polite."
    assert read_document(99, "door") == DOCUMENT


def test_ties_go_to_the_earlier_item() -> None:
    assert "knock" in read_document(1, "xyzzy")


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    prompt = "- gate gate one\n- gate two\n- oak three"
    assert retrieve_items(1)(prompt, "", (), Observation(text="the oak gate")) == "- oak three"


@given(st.text(max_size=80), st.integers(0, 5), st.text(max_size=20))
def test_retrieval_only_removes_lines(prompt: str, top_k: int, text: str) -> None:
    lines = iter(prompt.splitlines())
    assert all(line in lines for line in retrieve_items(top_k)(prompt, "", (), Observation(text=text)).splitlines())


def test_a_negative_top_k_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"top_k must be 0 or more, got -1"):
        retrieve_items(-1)


def test_with_a_heading_only_the_items_below_it_are_picked() -> None:
    prompt = "- sp one\n\n## Rules\n- rule\n\n## Memory\n- oak one\n  more\n- iron two\n\n## After\n- last"
    picked = retrieve_items(1, below="## Memory")(prompt, "", (), Observation(text="the iron gate"))
    assert picked == "- sp one\n\n## Rules\n- rule\n\n## Memory\n- iron two\n\n## After\n- last"
    assert retrieve_items(1, below="## Nothing")(prompt, "", (), Observation(text="the iron gate")) == prompt
