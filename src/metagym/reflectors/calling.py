"""Calling a reflector: the one place that adapts plain functions and waits for asynchronous reflectors."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from metagym import background
from metagym.errors import ConfigError
from metagym.extensions import describe, extension_of
from metagym.models import sample as sample_of
from metagym.reflectors.protocol import Reflector, Replay
from metagym.types import MetaStep, Reflection

ReflectorSpec = Reflector | Callable[..., Any]


class FunctionReflector:
    """Makes a reflector of a plain or async function `(history) -> Reflection | str`; a str is the next prompt."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.scripted: bool = extension_of(function).scripted
        self.fingerprint = {"kind": "function", "name": describe(function)}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Call the function, and await its result if it is async."""
        result = self.function(history)
        return _checked(await result if inspect.isawaitable(result) else result)


def as_reflector(reflector: ReflectorSpec) -> Reflector:
    """Return `reflector`; wrap it if it is a function.

    Raises:
        ConfigError: it is neither a reflector nor a function.
    """
    if hasattr(reflector, "reflect"):
        return cast(Reflector, reflector)
    if callable(reflector):
        return FunctionReflector(reflector)
    raise ConfigError(
        f"Expected a Reflector or a function (history) -> Reflection | str, got {type(reflector).__name__}."
    )


def bind(reflector: Reflector, replay: Replay | None) -> Reflector:
    """Return the reflector bound to `replay`, if it needs its own rollouts and `replay` is given."""
    bound_to = extension_of(reflector).bound_to
    return reflector if bound_to is None or replay is None else cast(Reflector, bound_to(replay))


def reflect(
    reflector: ReflectorSpec, history: Sequence[MetaStep], *, replay: Replay | None = None, sample: int | None = None
) -> Reflection:
    """Return the reflector's reflection on the history, from synchronous code.

    A plain function runs in the caller's thread, so that it may step an environment itself. Everything else runs
    on the background loop. `replay` plays the rollouts that a `RolloutReflector` asks for; `sample` makes the
    reflector's model calls independent of those of other samples, as `metagym.models.sample` does.

    Raises:
        ConfigError: the reflector returned something else than a Reflection or a str.
        Exception: the reflector's own.
    """
    policy = bind(as_reflector(reflector), replay)
    with contextlib.nullcontext() if sample is None else sample_of(sample):
        result = policy.function(history) if isinstance(policy, FunctionReflector) else policy.reflect(history)
        return _checked(background.run(_finished(result)) if inspect.isawaitable(result) else result)


def reflect_samples(
    reflector: ReflectorSpec, history: Sequence[MetaStep], num_samples: int, *, replay: Replay | None = None
) -> list[Reflection]:
    """Return `num_samples` independent reflections on one history; model calls run at the same time. See `reflect`.

    Raises:
        Exception: the first one that a reflection raised; the others were waited for.
    """
    policy = bind(as_reflector(reflector), replay)
    if isinstance(policy, FunctionReflector) and not inspect.iscoroutinefunction(policy.function):
        return [reflect(policy, history, sample=number) for number in range(num_samples)]

    async def reflect_sample(number: int) -> Reflection:
        with sample_of(number):
            return _checked(await policy.reflect(history))

    async def reflect_all() -> list[Reflection | BaseException]:
        return await asyncio.gather(*map(reflect_sample, range(num_samples)), return_exceptions=True)

    found: list[Reflection] = []
    for reflection in background.run(reflect_all()):
        if isinstance(reflection, BaseException):
            raise reflection
        found.append(reflection)
    return found


async def _finished(result: Awaitable[Any]) -> Any:
    return await result


def _checked(result: object) -> Reflection:
    if isinstance(result, str):
        return Reflection(prompt=result)
    if not isinstance(result, Reflection):
        raise ConfigError(f"A reflector must return a Reflection or a str, got {type(result).__name__}.")
    return result
