"""ACE style changes a playbook by deltas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.errors import ConfigError
from metagym.reflectors.ace_style import AceStyle, Delta, apply_delta
from metagym.testing import FakeChatModel
from tests.reflectors.batches import asked, lost, reflect_on


def item(number: int, text: str, helpful: int = 0, harmful: int = 0) -> dict[str, Any]:
    return {"id": number, "section": "S", "text": text, "helpful": helpful, "harmful": harmful}


PLAYBOOK = {"items": [item(1, "Knock.  twice", 2), item(2, "Push."), item(5, "Sing.")], "next_id": 6}

judgements = st.sampled_from(["helpful", "harmful", "neutral"])
tags = st.lists(st.fixed_dictionaries({"id": st.integers(0, 7), "tag": judgements}))
changes = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["ADD", "update", "REMOVE"]), "text": st.text(max_size=5)},
        optional={"id": st.integers(0, 7)},
    )
)


@given(tags, changes)
def test_a_delta_changes_only_the_items_that_it_names(tagged: list[Any], operations: list[Any]) -> None:
    before = json.dumps(PLAYBOOK)
    delta = Delta.model_validate({"tags": tagged, "operations": operations})
    after = {entry["id"]: entry for entry in apply_delta(PLAYBOOK, delta, max_items=99)["items"]}
    named = {tag["id"] for tag in tagged} | {change.get("id") for change in operations if change["type"] != "ADD"}
    for entry in PLAYBOOK["items"]:  # type: ignore[attr-defined]
        if entry["id"] not in named:
            assert after[entry["id"]] == entry
    assert json.dumps(PLAYBOOK) == before


def test_a_delta_counts_tags_and_applies_operations_by_id() -> None:
    delta = Delta.model_validate(
        {
            "tags": [{"id": 1, "tag": "helpful"}, {"id": 2, "tag": "harmful"}, {"id": 5, "tag": "neutral"}],
            "operations": [
                {"type": "UPDATE", "id": 2, "text": "Push hard."},
                {"type": "REMOVE", "id": 5},
                {"type": "ADD", "section": "T", "text": "Wait."},
                {"type": "ADD", "text": "wait."},
            ],
        }
    )
    after = apply_delta(PLAYBOOK, delta, max_items=9)
    new = {"id": 6, "section": "T", "text": "Wait.", "helpful": 0, "harmful": 0}
    assert after == {"items": [item(1, "Knock.  twice", 3), item(2, "Push hard.", 0, 1), new], "next_id": 7}


def test_the_worst_item_is_removed_if_there_are_too_many() -> None:
    book = {"items": [item(1, "a", 1), item(2, "b", 1, 3), item(3, "c")], "next_id": 4}
    delta = Delta.model_validate({"operations": [{"type": "ADD", "text": "d"}]})
    assert [entry["id"] for entry in apply_delta(book, delta, max_items=3)["items"]] == [1, 3, 4]


def test_the_model_sees_ids_and_counters_and_the_actor_does_not() -> None:
    replies = [
        '{"operations": [{"type": "ADD", "section": "Gates", "text": "Knock."}]}',
        '```json\n{"tags": [{"id": 1, "tag": "helpful"}], "operations": []}\n```',
        '{"operations": []}',
    ]
    model = FakeChatModel(lambda messages, call: replies[call.meta_step])
    last = reflect_on(AceStyle(model), *[[lost()]] * 3)[-1]
    assert "[1] helpful=1 harmful=0 (Gates) Knock." in asked(model)
    assert last.prompt == "Be brave.\n\n## Playbook: Gates\n- Knock."


def test_an_option_below_its_least_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_items must be at least 1, got 0"):
        AceStyle(FakeChatModel([]), max_items=0)
