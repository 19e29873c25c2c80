"""What a reflector is: it reads a history of meta-steps and writes the next prompt. Plain functions are accepted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from metagym.errors import ConfigError
from metagym.extensions import extension_of
from metagym.seeding import describe
from metagym.types import MetaStep, Reflection


class Reflector(Protocol):
    """Writes the next prompt. It keeps nothing between calls: its memory travels in `Reflection.memory`.

    A reflector may carry `fingerprint` (a JSON mapping of what decides its output) and `scripted`.
    """

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the prompt for the next meta-step, given all meta-steps so far (at least one)."""
        ...


class Replay(Protocol):
    """Plays tasks of this meta-episode again, for a reflector that wants rollouts of its own."""

    async def __call__(
        self, prompts: Sequence[str], task_ids: Sequence[str], *, repetitions: int = 1
    ) -> tuple[MetaStep, ...]:
        """Play the tasks under each prompt, as `MetaEnv.replay` does; return one MetaStep a prompt.

        Its episodes are recorded and booked as learning. Equal calls give equal episodes: a group of samples
        is asked for by `repetitions`. What the apparatus failed on has the score None.
        """
        ...


class RolloutReflector(Reflector, Protocol):
    """A reflector that wants rollouts of its own. `optimize` and `evaluate` bind it before they let it reflect."""

    def bound_to(self, replay: Replay) -> Reflector:
        """Return this reflector, playing by `replay`; itself it stays as it is, for several meta-episodes share it."""
        ...


def bind(reflector: Reflector, replay: Replay | None) -> Reflector:
    """Return the reflector bound to `replay`, where it wants rollouts and there is an environment to play them."""
    bound_to = getattr(reflector, "bound_to", None)
    return reflector if bound_to is None or replay is None else cast(Reflector, bound_to(replay))


class FunctionReflector:
    """Makes a reflector of a plain or async function `(history) -> Reflection | str`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.scripted: bool = extension_of(function).scripted
        self.fingerprint = {"kind": "function", "name": describe(function)}

    def __call__(self, history: Sequence[MetaStep]) -> Any:
        """Call the function; a str it returns is the next prompt."""
        result = self.function(history)
        return Reflection(prompt=result) if isinstance(result, str) else result

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Call the function and await it where it is async."""
        result = self(history)
        if inspect.isawaitable(result):
            result = await result
        return Reflection(prompt=result) if isinstance(result, str) else cast(Reflection, result)


ReflectorSpec = Reflector | Callable[..., Any]


def as_reflector(reflector: ReflectorSpec) -> Reflector:
    """Return `reflector`, a plain function wrapped.

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
