"""ExpeL style keeps rules by votes, and successes as examples."""

from __future__ import annotations

import json

import pytest

from metagym.errors import ConfigError
from metagym.reflectors.expel_style import ExpelStyle, apply_changes
from metagym.reflectors.prompt_document import MEMORY_HEADING
from metagym.testing import FakeChatModel
from tests.reflectors.batches import asked, lost, reflect_on, won

RULES = [{"text": "Knock.", "count": 2}, {"text": "Push.", "count": 1}]


@pytest.mark.parametrize(
    ("reply", "rules"),
    [
        ("ADD: Sing.", [("Knock.", 2), ("Push.", 1), ("Sing.", 2)]),
        ("UPVOTE 1", [("Knock.", 3), ("Push.", 1)]),
        ("DOWNVOTE 1", [("Knock.", 1), ("Push.", 1)]),
        ("DOWNVOTE 2", [("Knock.", 2)]),
        ("DOWNVOTE 1\nDOWNVOTE 1", [("Push.", 1)]),
        ("EDIT 2: Push hard.", [("Knock.", 2), ("Push hard.", 2)]),
        ("**UPVOTE 2**\n- ADD: **Sing.", [("Knock.", 2), ("Push.", 2), ("Sing.", 2)]),
        ("DOWNVOTE 2\nADD: Push.", [("Knock.", 2), ("Push.", 2)]),
        ("ADD: knock.", [("Knock.", 2), ("Push.", 1)]),
        ("UPVOTE 7\nEDIT 0: no\nEDIT 1", [("Knock.", 2), ("Push.", 1)]),
        ("ADD: a\nADD: b\nADD: c", [("Knock.", 2), ("Push.", 1), ("a", 2), ("b", 2)]),
        ("NONE", [("Knock.", 2), ("Push.", 1)]),
    ],
)
def test_a_rule_with_zero_votes_is_removed(reply: str, rules: list[tuple[str, int]]) -> None:
    before = json.dumps(RULES)
    assert [(rule["text"], rule["count"]) for rule in apply_changes(RULES, reply, max_rules=4)] == rules
    assert json.dumps(RULES) == before


def test_the_model_sees_the_counts_and_the_prompt_lists_the_strongest_rule_first() -> None:
    replies = ["ADD: Knock.\nADD: Push.", "UPVOTE 2", "NONE"]
    model = FakeChatModel(lambda messages, call: replies[call.meta_step])
    reflections = reflect_on(ExpelStyle(model), *[[lost()]] * 3)
    assert "1. Knock. (2)\n2. Push. (3)\n18 rules may be added." in asked(model)
    assert reflections[-1].prompt == "Be brave.\n\n## Rules\n- Push.\n- Knock."


def test_the_latest_successes_are_the_examples() -> None:
    model = FakeChatModel(lambda messages, call: "NONE")
    batches = [[won(f"door {number}"), lost(f"wall {number}")] for number in range(3)]
    last = reflect_on(ExpelStyle(model, max_examples=2), *batches)[-1]
    assert MEMORY_HEADING in last.prompt
    assert [f"door {number}" in last.prompt for number in range(3)] == [False, True, True]
    assert "wall" not in last.prompt


def test_an_option_below_its_least_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_rules must be at least 1, got 0"):
        ExpelStyle(FakeChatModel([]), max_rules=0)
