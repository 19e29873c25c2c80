"""A reflector is called from synchronous code: plain functions, async ones, samples and rollouts."""

from __future__ import annotations

import asyncio
import copy
import inspect
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from metagym import background
from metagym.errors import (
    ConfigError,
    ContentFilterError,
    ContextOverflowError,
    ConversationError,
    EpisodesFailedError,
    ModelError,
)
from metagym.models import Call, ask, sample
from metagym.optional_attributes import describe, extension_of
from metagym.reflectors import FixedReflector, Replay, as_reflector, bind, reflect, reflect_samples
from metagym.reflectors.protocol import FunctionReflector, check_replayed
from metagym.testing import FakeChatModel
from metagym.types import MetaStep, Reflection
from tests.conftest import make_meta_step, make_trajectory

HISTORY = [make_meta_step(prompt="old")]


async def write_async(history: Sequence[MetaStep]) -> str:
    return "async"


class AsyncCallable:
    async def __call__(self, history: Sequence[MetaStep]) -> str:
        return "async"


class Plain:
    """A class with a plain `reflect`, and optional attributes."""

    scripted = True
    revision = "r1"
    name = "mine"

    def __init__(self, word: str = "plain") -> None:
        self.word = word

    def reflect(self, history: Sequence[MetaStep]) -> str:
        return self.word

    def bound_to(self, replay: Replay) -> Plain:
        return Plain("bound")


class Asking:
    """Asks a model, and writes the seed of its call."""

    def __init__(self) -> None:
        self.model = FakeChatModel(lambda messages, call: str(call.seed))

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        completion = await ask(self.model, [{"role": "user", "content": "?"}], Call(role="reflector", seed=5))
        return Reflection(prompt=completion.text)


@pytest.mark.parametrize(
    ("function", "prompt"),
    [
        (lambda history: "plain", "plain"),
        (lambda history: Reflection(prompt="whole"), "whole"),
        (write_async, "async"),
        (AsyncCallable(), "async"),
        (lambda history: write_async(history), "async"),
        (Plain(), "plain"),
        (FixedReflector(), "old"),
    ],
)
def test_functions_plain_or_async_and_reflectors_all_reflect(function: Any, prompt: str) -> None:
    assert reflect(function, HISTORY).prompt == prompt
    assert [item.prompt for item in reflect_samples(function, HISTORY, 2)] == [prompt, prompt]
    assert asyncio.run(as_reflector(function).reflect(HISTORY)).prompt == prompt


def test_a_plain_function_runs_in_the_callers_thread_and_all_else_on_the_background_loop() -> None:
    async def name_async(history: Sequence[MetaStep]) -> str:
        return threading.current_thread().name

    def name(history: Sequence[MetaStep]) -> str:
        return threading.current_thread().name

    here = threading.current_thread().name
    assert reflect(name, HISTORY).prompt == here
    assert reflect_samples(name, HISTORY, 1)[0].prompt == here
    assert reflect(name_async, HISTORY).prompt == "metagym" != here


@pytest.mark.parametrize("answer", [None, 3, ["p"]])
def test_a_result_that_is_no_reflection_is_refused(answer: Any) -> None:
    async def answer_async(history: Sequence[MetaStep]) -> Any:
        return answer

    for function in (lambda history: answer, answer_async):
        with pytest.raises(ConfigError, match=r"A reflector must return a Reflection or a str, got"):
            reflect(function, HISTORY)


def test_each_sample_draws_its_own_seed_and_sample_0_is_the_usual_one() -> None:
    seeds = [item.prompt for item in reflect_samples(Asking(), HISTORY, 3)]
    assert len(set(seeds)) == 3
    for number in range(3):
        with sample(number):
            assert reflect(Asking(), HISTORY).prompt == seeds[number]
    assert seeds[0] == reflect(Asking(), HISTORY).prompt


def test_a_sample_that_fails_waits_for_the_others() -> None:
    finished: list[int] = []

    class Failing:
        async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
            finished.append(len(finished))
            if finished[-1] == 0:
                raise ModelError("down")
            await asyncio.sleep(0)
            return Reflection(prompt="p")

    with pytest.raises(ModelError, match=r"down"):
        reflect_samples(Failing(), HISTORY, 3)
    assert finished == [0, 1, 2]


class Rollouts:
    def __init__(self, replay: Replay | None = None) -> None:
        self.replay = replay

    def bound_to(self, replay: Replay) -> Rollouts:
        return Rollouts(replay)

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        assert self.replay is not None
        (played,) = await self.replay(["played"], [])
        return Reflection(prompt=played.prompt)


async def replay(prompts: Sequence[str], task_ids: Sequence[str], *, repetitions: int = 1) -> tuple[MetaStep, ...]:
    return tuple(make_meta_step(prompt=prompt) for prompt in prompts)


def test_a_reflector_that_needs_rollouts_is_bound_and_stays_unchanged() -> None:
    fixed, rollouts = FixedReflector(), Rollouts()
    assert reflect(rollouts, HISTORY, replay=replay).prompt == "played"
    assert [item.prompt for item in reflect_samples(rollouts, HISTORY, 2, replay=replay)] == ["played"] * 2
    assert rollouts.replay is None
    assert bind(fixed, replay) is fixed
    assert bind(rollouts, None) is rollouts
    assert bind(rollouts, replay) is not rollouts


def test_a_function_may_be_marked_as_scripted() -> None:
    def scripted(steps: Any) -> str:
        return "x"

    assert not FunctionReflector(scripted).scripted
    scripted.scripted = True  # type: ignore[attr-defined]
    assert FunctionReflector(scripted).scripted


def test_a_reflector_with_a_plain_method_keeps_its_attributes() -> None:
    made: Any = as_reflector(Plain())
    about = extension_of(made)
    assert (about.scripted, about.revision, about.model, made.name) == (True, "r1", None, "mine")
    assert describe(made) == describe(Plain())
    assert describe(copy.copy(made)) == describe(Plain())
    assert [item.prompt for item in reflect_samples(made, HISTORY, 2, replay=replay)] == ["bound", "bound"]


@pytest.mark.parametrize("kind", [Plain, Asking, AsyncCallable])
def test_a_class_in_place_of_an_instance_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match=rf"got the class {kind.__name__}. Pass an instance: {kind.__name__}\(\)"):
        as_reflector(kind)


def test_what_is_no_reflector_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Expected a Reflector or a function .*, got str"):
        as_reflector("a prompt")  # type: ignore[arg-type]


def test_a_reflection_cancelled_before_it_began_is_closed() -> None:
    """Else Python says that it "was never awaited" at a moment when nobody can tell why."""
    made: list[Coroutine[Any, Any, Reflection]] = []
    is_released = threading.Event()  # the loop is busy when the reflection is cancelled

    class Late(FixedReflector):
        def reflect(self, history: Sequence[MetaStep]) -> Coroutine[Any, Any, Reflection]:  # type: ignore[override]
            made.append(super().reflect(history))
            time.sleep(0.05)  # the other one sees it, and waits for its turn
            background.LOOP._running_loop().call_soon_threadsafe(is_released.wait)
            threading.Timer(0.1, is_released.set).start()
            return made[0]

    def reflect_late() -> None:
        reflect(Late(), HISTORY)

    async def until_made() -> None:
        while not made:
            await asyncio.sleep(0)

    def fail() -> None:
        background.run(until_made())
        raise ValueError("no ink")

    with pytest.raises(ValueError, match="no ink"):
        list(background.run_side_by_side([fail, reflect_late], max_threads=2))
    assert [inspect.getcoroutinestate(coroutine) for coroutine in made] == [inspect.CORO_CLOSED]


@pytest.mark.parametrize("error", [ContentFilterError("HTTP 400: flagged."), ContextOverflowError("too long")])
def test_a_refused_reflection_keeps_prompt_and_memory(error: ConversationError) -> None:
    class Refused:
        async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
            raise error

    before = make_meta_step(prompt="old", reflection=Reflection(prompt="old", memory=[7]))
    for found in (reflect(Refused(), [before]), *reflect_samples(Refused(), [before], 2)):
        assert (found.prompt, found.memory) == ("old", [7])
        assert found.problem == f"{str(error).rstrip('.')}; the old prompt was kept."


def test_a_replay_with_a_failed_episode_compares_nothing() -> None:
    failed = make_trajectory(success=None, score=None, error="down.")
    check_replayed([make_meta_step([make_trajectory()])])
    with pytest.raises(EpisodesFailedError, match=r"1 of 2 replayed episodes failed. The first failure: down. The"):
        check_replayed([make_meta_step([make_trajectory(), failed])])
