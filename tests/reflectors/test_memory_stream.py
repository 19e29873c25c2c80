"""The memory stream keeps all episodes, and a model may refine them."""

from __future__ import annotations

import pytest

from metagym.errors import ConfigError
from metagym.reflectors.memory_stream import MemoryStream
from metagym.reflectors.prompt_document import MEMORY_HEADING
from metagym.testing import FakeChatModel
from tests.reflectors.batches import asked, lost, reflect_on, won


def test_every_scored_episode_is_kept_until_it_is_among_the_oldest() -> None:
    batches = [[won("one")], [lost("two"), won("three", score=None)], [lost("four")]]
    last = reflect_on(MemoryStream(max_items=2), *batches)[-1]
    assert [entry["id"] for entry in last.memory["items"]] == [2, 3]
    assert [text in last.prompt for text in ("one", "two", "three", "four")] == [False, True, False, True]
    assert last.memory["next_id"] == 4


def test_the_model_refines_the_memory_by_id() -> None:
    replies = [
        '{"operations": [{"type": "REWRITE", "ids": [1], "text": "Note one."}]}',
        '{"operations": [{"type": "MERGE", "ids": [1, 2], "text": "Both."}, {"type": "PRUNE", "ids": [9]}]}',
        '{"operations": [{"type": "PRUNE", "ids": [1]}]}',
    ]
    model = FakeChatModel(lambda messages, call: replies[call.meta_step])
    reflections = reflect_on(MemoryStream(model), [won("one")], [won("two")], [won("three")])
    assert [[entry["id"] for entry in item.memory["items"]] for item in reflections] == [[1], [1], [3]]
    assert "[1] Note one.\n\n[2] An earlier episode:" in asked(model, 1)
    assert reflections[1].prompt == f"Be brave.\n\n{MEMORY_HEADING}\n- Both."


def test_an_option_below_its_least_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_items must be at least 1, got 0"):
        MemoryStream(max_items=0)


def test_the_model_sees_the_newest_entries_that_fit_and_the_others_stay() -> None:
    model = FakeChatModel(['{"operations": []}'])
    reflections = reflect_on(MemoryStream(model, max_tokens=120), *([won(f"task {n}" + "x" * 100)] for n in range(5)))
    assert "[5] An earlier" in asked(model, 4)
    assert "[1] An earlier" not in asked(model, 4)
    assert [entry["id"] for entry in reflections[-1].memory["items"]] == [1, 2, 3, 4, 5]
