"""Inner environments in this process, pooled and reused."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from metagym.errors import InnerEnvError, in_words
from metagym.types import Task
from metagym.workers.checking import frame_of_reset, frame_of_step
from metagym.workers.protocol import Frame, InnerEnv, MakeEnv


class HostedEnv:
    """Steps one environment in its own process; whatever it raises or wrongly returns is an InnerEnvError."""

    def __init__(self, make_env: MakeEnv) -> None:
        self.broken = False
        try:
            self._env = make_env()
        except (ImportError, KeyboardInterrupt):
            raise  # the message of an ImportError says what to install
        except BaseException as error:
            raise InnerEnvError(f"The inner environment could not be made: {in_words(error)}") from error

    def reset(self, task: Task) -> Frame:
        """Start `task`."""
        try:
            result: object = self._env.reset(seed=task.seed, options={"task_id": task.id})
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also `sys.exit`, and the panic of a library in Rust
            raise self._failure("reset", error) from error
        return self._read(frame_of_reset, result)

    def step(self, command: str) -> Frame:
        """Execute `command`."""
        try:
            result: object = self._env.step(command)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._failure(f"step({command!r:.200})", error) from error
        return self._read(frame_of_step, result)

    def close(self) -> None:
        """Close the environment, and ignore errors: a broken one may break again, and its episode is recorded."""
        with contextlib.suppress(Exception):
            self._env.close()

    def _failure(self, call: str, error: BaseException) -> InnerEnvError:
        self.broken = True
        return InnerEnvError(f"The inner environment raised in {call}: {in_words(error)}")

    def _read(self, read: Callable[[object], Frame], result: object) -> Frame:
        try:
            return read(result)
        except InnerEnvError:
            self.broken = True
            raise


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
