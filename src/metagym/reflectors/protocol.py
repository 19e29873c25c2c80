"""The protocol of a reflector, and the one place that adapts plain functions and waits for asynchronous reflectors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar, cast

from metagym import background
from metagym.errors import ConfigError, ConversationError, EpisodesFailedError
from metagym.models import sample
from metagym.optional_attributes import describe, extension_of
from metagym.rendering import first_failure
from metagym.types import MetaStep, Reflection

T = TypeVar("T")
History = Sequence[MetaStep]
"""The meta-steps so far, at least one."""


class Reflector(Protocol):
    """Writes the next prompt. It keeps nothing between calls: its memory travels in `Reflection.memory`.

    Its optional attributes (`fingerprint`, `scripted`, ...) are those of `metagym.optional_attributes.Extension`.
    """

    async def reflect(self, history: History) -> Reflection:
        """Return the prompt for the next meta-step, given all meta-steps so far."""


class Replay(Protocol):
    """Plays tasks of this meta-episode again, for a reflector that needs its own rollouts.

    Such a reflector has a method `bound_to(replay)`, which returns a copy that plays by `replay`. It does not change
    itself, because several meta-episodes share it. `optimize` and `evaluate` bind it before it reflects.
    """

    async def __call__(
        self, prompts: Sequence[str], task_ids: Sequence[str], *, repetitions: int = 1
    ) -> tuple[MetaStep, ...]:
        """Play the tasks under each prompt, as `MetaEnv.replay` does; return one MetaStep per prompt.

        Its episodes are recorded and booked as learning. Equal calls give equal episodes: use `repetitions` to
        get a group of samples. An episode that failed for infrastructure reasons has the score None.
        """


ReflectorSpec = Reflector | Callable[..., Any]


class FunctionReflector:
    """Makes a reflector of a plain or async function `(history) -> Reflection | str`; a str is the next prompt."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.scripted: bool = extension_of(function).scripted
        self.fingerprint = {"kind": "function", "name": describe(function)}

    async def reflect(self, history: History) -> Reflection:
        """Call the function, and await its result if it is async."""
        result = self.function(history)
        return checked(await result if inspect.isawaitable(result) else result)


class PlainReflector(FunctionReflector):
    """Makes a reflector of an object whose `reflect` is a plain method; every other attribute is the object's own."""

    def __init__(self, reflector: Any) -> None:
        self.reflector = reflector
        self.function = reflector.reflect

    def __getattr__(self, name: str) -> Any:
        if name == "reflector":  # in a copy that is not filled yet
            raise AttributeError(name)
        return describe(self.reflector) if name == "fingerprint" else getattr(self.reflector, name)


def as_reflector(reflector: ReflectorSpec) -> Reflector:
    """Return `reflector`; wrap a function, and an object whose `reflect` is not async; else raise ConfigError."""
    if isinstance(reflector, type):
        name = reflector.__name__
        raise ConfigError(f"Expected a reflector or a function, got the class {name}. Pass an instance: {name}().")
    if hasattr(reflector, "reflect"):
        is_async = isinstance(reflector, FunctionReflector) or inspect.iscoroutinefunction(reflector.reflect)
        return cast(Reflector, reflector) if is_async else PlainReflector(reflector)
    if callable(reflector):
        return FunctionReflector(reflector)
    raise ConfigError(
        f"Expected a Reflector or a function (history) -> Reflection | str, got {type(reflector).__name__}."
    )


def bind(reflector: Reflector, replay: Replay | None) -> Reflector:
    """Return the reflector bound to `replay`, if it needs its own rollouts and `replay` is given."""
    bound_to = extension_of(reflector).bound_to
    return reflector if bound_to is None or replay is None else as_reflector(bound_to(replay))


def reflect(reflector: ReflectorSpec, history: History, *, replay: Replay | None = None) -> Reflection:
    """Return the reflector's reflection on the history, from synchronous code.

    A plain function runs in the caller's thread, so that it may step an environment itself. Everything else runs
    on the background loop. `replay` plays the rollouts that a reflector asks for. If the model's server refuses the
    conversation (it is too long, or filtered), the old prompt is kept, and `problem` says why.
    """
    policy = bind(as_reflector(reflector), replay)
    try:
        result = policy.function(history) if isinstance(policy, FunctionReflector) else policy.reflect(history)
        if inspect.isawaitable(result):
            result = background.run(result if inspect.iscoroutine(result) else _finished(result))
    except ConversationError as error:
        return _kept(history, error)
    return checked(result)


def reflect_samples(
    reflector: ReflectorSpec, history: History, num_samples: int, *, replay: Replay | None = None
) -> list[Reflection]:
    """Return `num_samples` reflections on one history, each with its own seeds (`metagym.models.sample`).

    Model calls run at the same time; otherwise see `reflect`.
    """
    policy = bind(as_reflector(reflector), replay)
    if isinstance(policy, FunctionReflector) and not inspect.iscoroutinefunction(policy.function):
        found = []
        for number in range(num_samples):
            with sample(number):
                found.append(reflect(policy, history))
        return found

    async def reflect_sample(number: int) -> Reflection:
        with sample(number):
            try:
                return checked(await policy.reflect(history))
            except ConversationError as error:
                return _kept(history, error)

    return background.run(wait_for_all(map(reflect_sample, range(num_samples))))


async def wait_for_all(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Run the awaitables at once and return their results; if some fail, raise the first error after all have ended."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    await asyncio.gather(*tasks, return_exceptions=True)
    return [task.result() for task in tasks]


async def _finished(result: Awaitable[Any]) -> Any:
    return await result


def check_replayed(played: Iterable[MetaStep]) -> None:
    """Raise EpisodesFailedError if an episode of a replay failed: the other episodes would compare different tasks."""
    for meta_step in played:
        if meta_step.num_failed:
            raise EpisodesFailedError(
                f"{meta_step.num_failed} of {len(meta_step.trajectories)} replayed episodes failed. The first failure: "
                f"{first_failure(meta_step.trajectories)}. The same command resumes.",
                meta_step,
            )


def _kept(history: History, error: ConversationError) -> Reflection:
    last = history[-1]
    memory = None if last.reflection is None else last.reflection.memory
    return Reflection(prompt=last.prompt, memory=memory, problem=f"{str(error).rstrip('.')}; the old prompt was kept.")


def checked(result: object) -> Reflection:
    """Return a reflector's answer as a Reflection: a str is the next prompt."""
    if isinstance(result, str):
        return Reflection(prompt=result)
    if not isinstance(result, Reflection):
        raise ConfigError(f"A reflector must return a Reflection or a str, got {type(result).__name__}.")
    return result
