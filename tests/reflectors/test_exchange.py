"""Asking and answering: each call has a chance of its own, and a reflection says what became of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from metagym.errors import ModelError
from metagym.reflectors.exchange import Question, ask_all, has_succeeded, keep, write
from metagym.testing import FakeChatModel
from metagym.types import Reflection, Usage
from tests.conftest import make_episode, make_meta_step, make_trajectory, reply

HISTORY = [make_meta_step([make_trajectory(episode=make_episode(seed=5, arm="b"))], index=2)]


def ask(model: Any, *texts: str, first: int = 0, history: Any = HISTORY) -> list[Any]:
    return asyncio.run(ask_all(model, history, [Question("Do.", text) for text in texts], first=first))


def test_the_calls_of_a_reflection_differ_in_seed_and_repetition() -> None:
    model = FakeChatModel(lambda messages, call: messages[1]["content"])
    assert [item.text for item in ask(model, "a", "b", "c")] == ["a", "b", "c"]
    ask(model, "a", first=3)
    calls = [call for _, call in model.calls]
    assert {(call.role, call.arm, call.meta_step) for call in calls} == {("reflector", "b", 2)}
    assert [call.repetition for call in calls] == [0, 1, 2, 3]
    assert len({call.seed for call in calls}) == 4


def test_seeds_follow_from_what_was_played() -> None:
    model = FakeChatModel(["x"])
    other = [make_meta_step([make_trajectory(episode=make_episode(seed=6, arm="b"))], index=2)]
    ask(model, "a"), ask(model, "a"), ask(model, "a", history=other)
    seeds = [call.seed for _, call in model.calls]
    assert seeds[0] == seeds[1] != seeds[2]


def test_a_call_that_fails_waits_for_the_others() -> None:
    finished: list[str] = []

    class Slow(FakeChatModel):
        async def complete(self, messages: Any, call: Any) -> Any:
            if call.repetition == 0:
                raise ModelError("down")
            await asyncio.sleep(0)
            finished.append(messages[1]["content"])
            return reply("x")

    with pytest.raises(ModelError, match=r"down"):
        ask(Slow([]), "a", "b", "c")
    assert finished == ["b", "c"]


def test_a_prompt_that_is_none_keeps_the_old_one_and_its_memory() -> None:
    last = make_meta_step(prompt="old", reflection=Reflection(prompt="old", memory=[1]))
    found = write([last], "x" * 100_001, [2], [reply("r")])
    assert (found.prompt, found.memory) == ("old", [1])
    assert found.problem.startswith("The new prompt is none (")
    assert found.problem.endswith("; the old prompt was kept.")


def test_the_replies_of_one_reflection_are_recorded_as_one_and_counted_as_all() -> None:
    replies = [
        reply("a", usage=Usage(prompt_tokens=1, num_calls=1)),
        reply("b", usage=Usage(prompt_tokens=2, num_calls=1), finish_reason="length"),
    ]
    completion = write([make_meta_step()], "new", None, replies).completion
    assert completion is not None
    assert (completion.text, completion.finish_reason) == ("a\n\n---\n\nb", "length")
    assert completion.usage == Usage(prompt_tokens=3, num_calls=2)
    assert keep([make_meta_step()], "", []).completion is None


@pytest.mark.parametrize(
    ("success", "score", "succeeded"),
    [
        (True, 1.0, True),
        (False, 1.0, False),
        (True, None, False),
        (None, 1.0, True),
        (None, 0.5, False),
        (None, None, False),
    ],
)
def test_success_is_the_environments_word_else_a_score_of_one(success: Any, score: Any, succeeded: bool) -> None:
    assert has_succeeded(make_trajectory(success=success, score=score)) is succeeded
