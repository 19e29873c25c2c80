"""OPRO style shows scored prompts in rising order, and plays its proposals in turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.errors import ConfigError
from metagym.reflectors.opro_style import OproStyle, scored_prompts
from metagym.testing import FakeChatModel
from metagym.types import MetaStep
from tests.conftest import make_meta_step
from tests.reflectors.batches import asked, lost, reflect_on


def played(*items: tuple[str, float | None]) -> list[MetaStep]:
    return [make_meta_step(index=index, prompt=text, reward=reward) for index, (text, reward) in enumerate(items)]


def test_prompts_are_ordered_by_rising_score_and_equal_ones_by_age() -> None:
    history = played(("a", 0.5), ("b", 0.2), ("c", 0.5), ("d", 0.9), ("a", 0.5), ("e", None))
    assert scored_prompts(history) == [("b", 0.2), ("a", 0.5), ("c", 0.5), ("d", 0.9)]


def test_the_score_of_a_prompt_is_the_mean_of_its_batches() -> None:
    assert scored_prompts(played(("a", 0.0), ("b", 0.4), ("a", 1.0)))[-1] == ("a", 0.5)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([0.0, 0.2, 0.5, 1.0])), min_size=1))
def test_a_better_prompt_is_never_shown_before_a_worse_one(items: list[tuple[str, float]]) -> None:
    found = scored_prompts(played(*items))
    assert [score for _, score in found] == sorted(score for _, score in found)
    assert {prompt for prompt, _ in found} == {prompt for prompt, _ in items}


def test_the_best_prompts_are_last_and_the_worst_are_left_out() -> None:
    model = FakeChatModel(["none"])
    asyncio.run(OproStyle(model, max_scored=2).reflect(played(("a", 0.9), ("b", 0.1), ("c", 0.5))))
    text = asked(model)
    assert text.index("<tried score=0.50>\nc") < text.index("<tried score=0.90>\na")
    assert "\nb\n" not in text


def test_the_worst_of_long_prompts_are_left_out_so_that_the_request_fits_its_context() -> None:
    class Small(FakeChatModel):
        context_tokens, max_reply_tokens = 4_000, 1_000

    model = Small(["none"])
    history = played(*((f"prompt {number} " + "x" * 2_000, number / 20) for number in range(20)))
    asyncio.run(OproStyle(model).reflect(history))
    text = asked(model)
    assert "prompt 19 " in text
    assert "prompt 0 " not in text
    assert len(text) < 4 * 3_000


def test_proposals_are_played_in_turn_before_the_model_is_asked_again() -> None:
    def propose(messages: Any, call: Any) -> str:
        known = "<prompt>Be brave.</prompt>"
        return known + "".join(f"<prompt>\np{call.meta_step}-{number}\n</prompt>" for number in range(3))

    model = FakeChatModel(propose)
    reflections = reflect_on(OproStyle(model, num_candidates=2), *[[lost()]] * 5)
    assert [item.prompt for item in reflections] == ["p0-0", "p0-1", "p2-0", "p2-1", "p4-0"]
    assert [call.meta_step for _, call in model.calls] == [0, 2, 4]
    assert [item.memory for item in reflections][:2] == [{"queue": ["p0-1"]}, {"queue": []}]


def test_a_proposal_that_was_tried_already_is_refused() -> None:
    model = FakeChatModel(["<prompt>be  BRAVE.</prompt>"])
    assert "holds no new prompt" in reflect_on(OproStyle(model), [lost()])[0].problem


def test_an_option_below_its_least_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"num_candidates must be at least 1, got 0"):
        OproStyle(FakeChatModel([]), num_candidates=0)
