"""Inner environments in this process, pooled and reused."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator

from metagym.errors import InnerEnvError
from metagym.types import Task
from metagym.workers.protocol import Frame, InnerEnv, MakeEnv


class HostedEnv:
    """Steps one environment in its own process, and turns every error it raises into InnerEnvError."""

    def __init__(self, make_env: MakeEnv) -> None:
        self.broken = False
        try:
            self._env = make_env()
        except ImportError:
            raise  # its message says what to install
        except Exception as error:
            raise InnerEnvError(f"The inner environment could not be made: {type(error).__name__}: {error}") from error

    def reset(self, task: Task) -> Frame:
        """Start `task`."""
        try:
            text, info = self._env.reset(seed=task.seed, options={"task_id": task.id})
        except Exception as error:
            raise self._failure("reset", error) from error
        return self._checked(Frame(text, 0.0, False, False, info))

    def step(self, command: str) -> Frame:
        """Execute `command`."""
        try:
            text, reward, terminated, truncated, info = self._env.step(command)
            frame = Frame(text, float(reward), terminated, truncated, info)
        except Exception as error:
            raise self._failure(f"step({command!r})", error) from error
        return self._checked(frame)

    def close(self) -> None:
        """Close the environment, and ignore errors: a broken one may break again, and its episode is recorded."""
        with contextlib.suppress(Exception):
            self._env.close()

    def _failure(self, call: str, error: Exception) -> InnerEnvError:
        self.broken = True
        return InnerEnvError(f"The inner environment raised in {call}: {type(error).__name__}: {error}")

    def _checked(self, frame: Frame) -> Frame:
        if isinstance(frame.text, str) and math.isfinite(frame.reward):
            return frame
        self.broken = True
        raise InnerEnvError(
            "An inner environment must give a str observation and a finite reward, got "
            f"{type(frame.text).__name__} and {frame.reward!r}. Wrap it in metagym.TextAdapter."
        )


class LocalWorkers:
    """Inner environments in this process, stepped on the event loop: for environments that are fast.

    An environment is leased for one episode and then returns to the pool; one that raised is thrown away.
    """

    def __init__(self, make_env: MakeEnv) -> None:
        self._make_env = make_env
        self._idle: list[_LocalEnv] = []
        self._closed = False

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[InnerEnv]:
        """Lease a pooled environment, or a new one if all are in use."""
        env = self._idle.pop() if self._idle else _LocalEnv(HostedEnv(self._make_env))
        try:
            yield env
        finally:
            if env.hosted.broken or self._closed:
                env.hosted.close()
            else:
                self._idle.append(env)

    def close(self) -> None:
        """Close the idle environments; one in use closes when its lease ends. Calling it twice is fine."""
        self._closed = True
        while self._idle:
            self._idle.pop().hosted.close()


class _LocalEnv:
    def __init__(self, hosted: HostedEnv) -> None:
        self.hosted = hosted

    async def reset(self, task: Task) -> Frame:
        return self.hosted.reset(task)

    async def step(self, command: str) -> Frame:
        return self.hosted.step(command)
