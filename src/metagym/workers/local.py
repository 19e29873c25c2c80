"""Inner environments in this process, pooled and reused."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from metagym.types import Task
from metagym.workers.hosting import Frame, HostedEnv, InnerEnv, MakeEnv


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
