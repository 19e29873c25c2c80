"""What all workers share: the protocol, and the host that steps one environment and checks what it answers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium

from metagym.errors import InnerEnvError
from metagym.types import Task

MakeEnv = Callable[[], gymnasium.Env[str, str]]


class Frame(NamedTuple):
    """What an inner environment answers to a reset or a step."""

    text: str
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


class InnerEnv(Protocol):
    """One leased inner environment, wherever it lives."""

    async def reset(self, task: Task) -> Frame:
        """Start `task`."""
        ...

    async def step(self, command: str) -> Frame:
        """Execute `command`."""
        ...


class Workers(Protocol):
    """Hosts inner environments and leases them, one an episode."""

    def lease(self) -> contextlib.AbstractAsyncContextManager[InnerEnv]:
        """Lease an environment for one episode."""
        ...

    def close(self) -> None:
        """Close all environments. Twice is fine."""
        ...


class Player(Protocol):
    """Plays an item where environments live. It is picklable, and so is what it returns."""

    async def __call__(self, item: Any, workers: Workers) -> Any:
        """Play `item` on an environment that it leases from `workers`."""
        ...

    async def aclose(self) -> None:
        """Close the connections that it opened where it played."""
        ...


class Seat(Protocol):
    """A place for one episode, on another machine perhaps: the player comes to the environment."""

    async def play(self, player: Player, item: Any) -> Any:
        """Have `player` play `item` where the environment lives, and return its answer.

        Raises:
            WorkerLostError: the machine, or the process there, was lost.
        """
        ...

    async def stop(self) -> None:
        """Cancel what is being played; `play` then returns what the player still answers."""
        ...


@runtime_checkable
class SeatWorkers(Protocol):
    """Hosts inner environments that players come to."""

    def seat(self) -> contextlib.AbstractAsyncContextManager[Seat]:
        """Lease a place for one episode."""
        ...

    def close(self) -> None:
        """Close all environments. Twice is fine."""
        ...


class WorkerLostError(InnerEnvError):
    """A worker process died or was killed, and with it the environments it hosted."""

    is_culprit: bool = True
    """Whether it was lost over a request of this very episode, not over another's."""


class HostedEnv:
    """One environment where it lives: steps it, and turns what it does wrong into InnerEnvError."""

    def __init__(self, make_env: MakeEnv) -> None:
        self.broken = False
        try:
            self._env = make_env()
        except ImportError:
            raise  # its message says what to install
        except Exception as error:
            raise InnerEnvError(f"The inner environment could not be made: {_name(error)}") from error

    def reset(self, task: Task) -> Frame:
        """Start `task`."""
        try:
            text, info = self._env.reset(seed=task.seed, options={"task_id": task.id})
        except Exception as error:
            self.broken = True
            raise InnerEnvError(f"The inner environment raised in reset: {_name(error)}") from error
        return self._checked(Frame(text, 0.0, False, False, info))

    def step(self, command: str) -> Frame:
        """Execute `command`."""
        try:
            text, reward, terminated, truncated, info = self._env.step(command)
            frame = Frame(text, float(reward), terminated, truncated, info)
        except Exception as error:
            self.broken = True
            raise InnerEnvError(f"The inner environment raised in step({command!r}): {_name(error)}") from error
        return self._checked(frame)

    def close(self) -> None:
        """Close it; one that broke may break again, and its episode has been recorded."""
        with contextlib.suppress(Exception):
            self._env.close()

    def _checked(self, frame: Frame) -> Frame:
        if isinstance(frame.text, str) and math.isfinite(frame.reward):
            return frame
        self.broken = True
        raise InnerEnvError(
            "An inner environment must give a str observation and a finite reward, got "
            f"{type(frame.text).__name__} and {frame.reward!r}. Wrap it in metagym.TextAdapter."
        )


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
