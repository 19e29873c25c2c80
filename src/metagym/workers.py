"""Where inner environments live: in this process, pooled and re-used.

An environment is leased for one episode and goes back to the pool; one that raised is thrown away.
It knows nothing of actors or prompts.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple, Protocol

import gymnasium

from metagym.errors import InnerEnvError
from metagym.types import Task


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
        """Close all environments."""
        ...


class LocalWorkers:
    """Inner environments in this process, stepped on the event loop: for those that are fast."""

    def __init__(self, make_env: Callable[[], gymnasium.Env[str, str]]) -> None:
        self._make_env = make_env
        self._idle: list[_LocalEnv] = []
        self._closed = False

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[InnerEnv]:
        """Lease a pooled environment, or a new one where all are in use."""
        env = self._idle.pop() if self._idle else _LocalEnv(self._make())
        try:
            yield env
        finally:
            if env.broken or self._closed:
                env.close()
            else:
                self._idle.append(env)

    def close(self) -> None:
        """Close the idle environments; one in use closes when its lease ends."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _make(self) -> gymnasium.Env[str, str]:
        try:
            return self._make_env()
        except ImportError:
            raise  # its message says what to install
        except Exception as error:
            raise InnerEnvError(f"The inner environment could not be made: {_name(error)}") from error


class _LocalEnv:
    def __init__(self, env: gymnasium.Env[str, str]) -> None:
        self._env = env
        self.broken = False

    async def reset(self, task: Task) -> Frame:
        try:
            text, info = self._env.reset(seed=task.seed, options={"task_id": task.id})
        except Exception as error:
            self.broken = True
            raise InnerEnvError(f"The inner environment raised in reset: {_name(error)}") from error
        return self._checked(Frame(text, 0.0, False, False, info))

    async def step(self, command: str) -> Frame:
        try:
            text, reward, terminated, truncated, info = self._env.step(command)
            frame = Frame(text, float(reward), terminated, truncated, info)
        except Exception as error:
            self.broken = True
            raise InnerEnvError(f"The inner environment raised in step({command!r}): {_name(error)}") from error
        return self._checked(frame)

    def close(self) -> None:
        # An environment that broke may break again when it closes; its episode has been recorded.
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
