"""The base of all methods: options and fingerprint, the seed of each call, and the reflection that comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from metagym.errors import ConfigError, ModelError
from metagym.optional_attributes import extension_of
from metagym.reflectors.method import ModelRequest, ReflectionMethod, has_succeeded, option
from metagym.testing import FakeChatModel
from metagym.types import Reflection, Usage
from tests.conftest import make_episode, make_meta_step, make_trajectory, reply

HISTORY = [make_meta_step([make_trajectory(episode=make_episode(seed=5, arm="b"))], index=2)]
METHOD = ReflectionMethod(None)


def ask(model: Any, *texts: str, first: int = 0, history: Any = HISTORY) -> list[Any]:
    questions = [ModelRequest("Do.", text) for text in texts]
    return asyncio.run(ReflectionMethod(model).ask_all(history, questions, first=first))


@dataclass(eq=False, repr=False)
class Notebook(ReflectionMethod):
    size: int = option(10, least=2)
    loud: bool = False
    wording = ("Take a note.",)


def test_the_fingerprint_holds_the_class_the_model_all_options_and_the_wording() -> None:
    assert Notebook(FakeChatModel([]), size=3).fingerprint == {
        "kind": "Notebook",
        "model": {"kind": "FakeChatModel"},
        "size": 3,
        "loud": False,
        "wording": ["Take a note."],
    }


def test_a_method_needs_its_model_and_refuses_an_option_below_its_least_value() -> None:
    with pytest.raises(TypeError, match=r"'model'"):
        Notebook()  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"size must be at least 2, got 1"):
        Notebook(FakeChatModel([]), size=1)


@pytest.mark.parametrize("size", [2.5, "3", True, float("nan")])
def test_an_option_that_is_no_whole_number_is_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match=r"size must be a whole number, got"):
        Notebook(FakeChatModel([]), size=size)


def test_a_method_is_scripted_if_its_model_is() -> None:
    class Real(FakeChatModel):
        scripted = False

    assert extension_of(Notebook(FakeChatModel([]))).scripted
    assert not extension_of(Notebook(Real([]))).scripted
    assert not extension_of(Notebook(None)).scripted


def test_the_calls_of_a_reflection_differ_in_seed_and_repetition() -> None:
    model = FakeChatModel(lambda messages, call: messages[1]["content"])
    assert [item.text for item in ask(model, "a", "b", "c")] == ["a", "b", "c"]
    ask(model, "a", first=3)
    calls = [call for _, call in model.calls]
    assert {(call.role, call.arm, call.meta_step) for call in calls} == {("reflector", "b", 2)}
    assert [call.repetition for call in calls] == [0, 1, 2, 3]
    assert len({call.seed for call in calls}) == 4


def test_seeds_follow_from_the_episodes_played() -> None:
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


def test_an_invalid_prompt_keeps_the_old_one_and_its_memory() -> None:
    last = make_meta_step(prompt="old", reflection=Reflection(prompt="old", memory=[1]))
    found = METHOD.write([last], "x" * 100_001, [2], [reply("r")])
    assert (found.prompt, found.memory) == ("old", [1])
    assert found.problem.startswith("The new prompt is invalid (")
    assert found.problem.endswith("; the old prompt was kept.")


def test_the_replies_of_one_reflection_are_recorded_as_one_and_counted_as_all() -> None:
    replies = [
        reply("a", usage=Usage(prompt_tokens=1, num_calls=1)),
        reply("b", usage=Usage(prompt_tokens=2, num_calls=1), finish_reason="length"),
    ]
    completion = METHOD.write([make_meta_step()], "new", None, replies).completion
    assert completion is not None
    assert (completion.text, completion.finish_reason) == ("a\n\n---\n\nb", "length")
    assert completion.usage == Usage(prompt_tokens=3, num_calls=2)
    assert METHOD.keep([make_meta_step()], "", []).completion is None


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
def test_an_episode_succeeds_as_its_environment_reports_or_else_by_a_score_of_one(
    success: Any, score: Any, succeeded: bool
) -> None:
    assert has_succeeded(make_trajectory(success=success, score=score)) is succeeded
