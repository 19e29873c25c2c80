"""Calling a reflector: the one place that adapts plain functions and waits for asynchronous reflectors."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from metagym import background
from metagym.errors import ConfigError
from metagym.extensions import extension_of
from metagym.models import sample as sample_of
from metagym.reflectors.protocol import Reflector, Replay
from metagym.seeding import describe
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
    pending = _begin(as_reflector(reflector), history, replay, sample)
    return pending if isinstance(pending, Reflection) else background.run(_finish(pending, sample))


def reflect_samples(
    reflector: ReflectorSpec, history: Sequence[MetaStep], num_samples: int, *, replay: Replay | None = None
) -> list[Reflection]:
    """Return `num_samples` independent reflections on one history; model calls run at the same time. See `reflect`.

    Raises:
        Exception: the first one that a reflection raised; the others were waited for.
    """
    policy = as_reflector(reflector)
    pending = [_begin(policy, history, replay, number) for number in range(num_samples)]

    async def finish_all() -> list[Reflection | BaseException]:
        jobs = (_finish(item, number) for number, item in enumerate(pending))
        return await asyncio.gather(*jobs, return_exceptions=True)

    found: list[Reflection] = []
    for reflection in background.run(finish_all()):
        if isinstance(reflection, BaseException):
            raise reflection
        found.append(reflection)
    return found


def _begin(
    reflector: Reflector, history: Sequence[MetaStep], replay: Replay | None, sample: int | None
) -> Reflection | Callable[[], Awaitable[Any]]:
    """Return the reflection of a plain function, which runs here and now; else what must be called on the loop."""
    if not isinstance(reflector, FunctionReflector):
        return functools.partial(bind(reflector, replay).reflect, history)
    with _sampling(sample):
        result = reflector.function(history)
    return (lambda: result) if inspect.isawaitable(result) else _checked(result)


async def _finish(pending: Reflection | Callable[[], Awaitable[Any]], sample: int | None) -> Reflection:
    if isinstance(pending, Reflection):
        return pending
    with _sampling(sample):
        return _checked(await pending())


def _sampling(sample: int | None) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if sample is None else sample_of(sample)


def _checked(result: object) -> Reflection:
    if isinstance(result, str):
        return Reflection(prompt=result)
    if not isinstance(result, Reflection):
        raise ConfigError(f"A reflector must return a Reflection or a str, got {type(result).__name__}.")
    return result
