"""Inner environments in worker processes: for environments that block, burn CPU, crash or leak.

Each process is spawned, hosts many environments, and serves one request at a time over a socket. A process that dies,
or takes longer than allowed, is killed and replaced; its episodes fail with WorkerLostError, and are played again. One
that ends before it has begun fails them for good: a new one would end, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import multiprocessing
import os
import pickle
import signal
import socket
import tempfile
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator
from multiprocessing.process import BaseProcess
from typing import Any

from metagym.errors import ConfigError, InfrastructureError, in_words
from metagym.types import Task
from metagym.workers.protocol import Frame, InnerEnv, MakeEnv, ProcessLimits, WorkerLostError
from metagym.workers.serving import receive, send, serve_environments

logger = logging.getLogger(__name__)

DEFAULT_LIMITS = ProcessLimits()
_POLL_S, _GRACE_S, _END_S = 0.05, 0.1, 5.0
TAIL_CHARACTERS = 1_000
"""Length of the end of a lost worker's output that its error shows."""


class ProcessWorkers:
    """Inner environments in `num_processes` spawned processes.

    `make_env` must be picklable: a class, a module's function, or a `functools.partial` of one. Each process prints
    to its own file; if the process is lost, the end of that file is in the error.
    """

    def __init__(self, make_env: MakeEnv, num_processes: int, limits: ProcessLimits = DEFAULT_LIMITS) -> None:
        if num_processes < 1:
            raise ConfigError(f"Expected num_processes >= 1, got {num_processes}.")
        try:
            self._factory = pickle.dumps(make_env)
        except Exception as error:
            raise ConfigError(
                f"Worker processes need a picklable function that makes an environment, got {make_env!r}: {error}. "
                "Use a class, a module's function or a functools.partial; for a MetaEnv, override "
                "inner_env_factory, or make make_inner_env a static method."
            ) from error
        self._limits, self._num_processes = limits, num_processes
        self._workers: list[_Worker] = []
        self._closed = False
        _opened.add(self)

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[InnerEnv]:
        """Lease an environment in the process that hosts the fewest leases."""
        worker = await self._least_busy()
        slot = worker.take()
        try:
            await asyncio.shield(worker.start)  # an error of the process's imports is raised as it is
            yield _ProcessEnv(worker, slot)
        finally:
            worker.give_back(slot)
            if worker.num_leases == 0 and (worker.is_worn or self._closed):
                worker.kill()

    def close(self) -> None:
        """Kill the processes. Calling it twice is fine."""
        self._closed = True
        with contextlib.ExitStack() as stack:  # each is killed, even if another one raises
            for worker in self._workers:
                stack.callback(worker.kill)

    def disown(self) -> None:
        """Let go of the processes in a forked child: they serve its parent."""
        for worker in self._workers:
            worker.disown()
        self._inherited, self._workers = self._workers, []  # kept: asyncio warns of a task that is freed before its end

    async def _least_busy(self) -> _Worker:
        if multiprocessing.current_process().daemon:
            raise ConfigError(
                "Worker processes cannot start in a daemonic process, such as those of Gymnasium's "
                "vectorization_mode='async'. Leave vectorization_mode out: a MetaVectorEnv plays all prompts with one "
                "set of workers. Or use workers='local'."
            )
        while True:
            # No await from here to `take`: two leases never start one worker twice.
            self._workers = [worker for worker in self._workers if not worker.is_lost]
            fresh = [worker for worker in self._workers if not worker.is_worn]
            worker = min(fresh, key=lambda worker: worker.num_leases, default=None)
            if (worker is None or worker.num_leases > 0) and len(self._workers) < self._num_processes:
                worker = _Worker(self._factory, self._limits)
                self._workers.append(worker)
            if worker is not None:
                return worker
            # A worn process that took more episodes might never end.
            await asyncio.wait([worker.end for worker in self._workers], return_when=asyncio.FIRST_COMPLETED)


_opened: weakref.WeakSet[ProcessWorkers] = weakref.WeakSet()


def _disown_all() -> None:
    for workers in list(_opened):
        workers.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


class _Worker:
    """One process, its socket, and the requests under way. Requests are answered in their order."""

    def __init__(self, factory: bytes, limits: ProcessLimits) -> None:
        self.num_leases = 0
        self.is_lost = False
        self._why_lost, self._is_closed = "", False
        self._num_episodes, self._limits = 0, limits
        self._has_begun, self._timeout_s = False, limits.start_timeout_s
        self._remedy = 'See the messages above. A script that uses workers needs `if __name__ == "__main__":`.'
        """What to do if it ends before it has begun."""
        self._slots = itertools.count()
        self._idle_slots: list[int] = []
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._connection = contextlib.ExitStack()
        self._output = tempfile.NamedTemporaryFile(prefix="metagym-worker-")  # noqa: SIM115 - closed by `kill`
        self._socket, far_end = socket.socketpair()
        # Spawned, not forked: a child must not inherit the locks of this process's threads.
        self._process: BaseProcess = multiprocessing.get_context("spawn").Process(
            target=serve_environments,
            args=(far_end, self._output.name, factory, limits.memory_mib),
            name="metagym-worker",
            daemon=True,
        )
        self._process.start()
        far_end.close()
        self._loop = asyncio.get_running_loop()
        self.end: asyncio.Future[None] = self._loop.create_future()
        """Done once the process was killed."""
        self.start = asyncio.ensure_future(self._begin())
        """Ends when the process has finished its imports."""
        self.start.add_done_callback(lambda start: start.cancelled() or start.exception())  # nothing may wait for it

    @property
    def is_worn(self) -> bool:
        """Whether it has played as many episodes as one process may."""
        return self._limits.recycle_after is not None and self._num_episodes >= self._limits.recycle_after

    def take(self) -> int:
        """Return the number of a free environment; the process makes an environment for a new number."""
        self.num_leases += 1
        self._num_episodes += 1
        return self._idle_slots.pop() if self._idle_slots else next(self._slots)

    def give_back(self, slot: int) -> None:
        """Take back the environment of that number."""
        self.num_leases -= 1
        self._idle_slots.append(slot)

    async def ask(self, *request: Any) -> Any:
        """Send a request and return its answer, or raise the environment's error."""
        if self.is_lost:
            raise self._lost(is_culprit=False)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append(answer)
        if len(self._pending) == 1:
            self._restart_timer()
        send(self._writer, request)
        failure, value = await answer
        if failure is not None:
            raise failure.error()
        return value

    def kill(self, why: str = "") -> None:
        """End the process, and fail the requests under way. Calling it twice is fine."""
        if self.is_lost:
            return
        self.is_lost, self._is_closed, self._why_lost = True, not why, why or "it was closed"
        if self._timer is not None:
            self._timer.cancel()
        try:
            _kill_group(self._process)
            self._output.seek(0)
            if tail := self._output.read()[-TAIL_CHARACTERS:].decode(errors="replace").strip():
                self._why_lost += f"; the end of its output: {tail}"
            with contextlib.suppress(FileNotFoundError):  # a cleaner of temporary files may have removed it
                self._output.close()
        finally:
            for index, answer in enumerate(self._pending):
                if not answer.done():
                    answer.set_exception(self._lost(is_culprit=index == 0))
            self._pending.clear()
            # The transport belongs to the loop; `close` may be called from any thread. This also wakes the loop.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hang_up)

    def disown(self) -> None:
        """Let go of the process in a forked child."""
        # Freed open, the stream would take the parent's socket out of the epoll that both share.
        self._socket.close()
        # At its exit `multiprocessing` would end the process.
        multiprocessing.process._children.discard(self._process)  # type: ignore[attr-defined]

    def _hang_up(self) -> None:
        self.end.set_result(None)
        self._connection.close()

    async def _begin(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._socket)
        self._connection.callback(self._writer.close)
        if self.end.done():  # killed before it was connected
            self._connection.close()
            raise self._lost(is_culprit=False)
        for task in (asyncio.ensure_future(self._read(reader)), asyncio.ensure_future(self._watch())):
            self._connection.callback(task.cancel)
        await self.ask(None, "hello", None)
        self._has_begun, self._timeout_s = True, self._limits.step_timeout_s

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                value = await receive(reader)
                answer = self._pending.popleft()
                if not answer.done():  # its episode may have been cancelled
                    answer.set_result(value)
                self._restart_timer()
        except (OSError, asyncio.IncompleteReadError):
            if self.is_lost:
                return  # it was killed in this process, by a caller that waits for its end
            # The process closed the socket and is about to end: wait for its exit code.
            await self._end(_END_S)
            self.kill(f"it died (exit code {self._process.exitcode})")
        except Exception as error:
            self.kill(f"its answer cannot be read: {in_words(error)}")

    async def _watch(self) -> None:
        """Find the end of a process whose socket is still open in a fork of its environment."""
        await self._end(math.inf)
        await asyncio.sleep(_POLL_S)  # its last answer, and the end of its socket, come first
        self.kill(f"it died (exit code {self._process.exitcode})")

    async def _end(self, timeout_s: float) -> None:
        """Wait for the end of the process, without its sentinel, which a fork keeps open, too."""
        while self._process.exitcode is None and timeout_s > 0:
            await asyncio.sleep(_POLL_S)
            timeout_s -= _POLL_S

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._pending:
            self._timer = self._loop.call_later(self._timeout_s, self._check_once_more)

    def _check_once_more(self) -> None:
        # If the loop was blocked, the answer may be in the socket: `_read`, which restarts the timer, comes first.
        why = f"it gave no answer within {self._timeout_s:g} s"
        self._remedy = "Raise start_timeout_s: workers={'processes': 4, 'start_timeout_s': 900}."
        self._timer = self._loop.call_later(_GRACE_S, self.kill, why)

    def _lost(self, *, is_culprit: bool) -> InfrastructureError:
        logger.log(
            logging.DEBUG if self._is_closed else logging.WARNING, "A worker process was lost: %s.", self._why_lost
        )
        if not (self._has_begun or self._is_closed):  # a new process would fail, too
            return InfrastructureError(
                "Expected a worker process to start (imports of the script and of the environment), but "
                f"{self._why_lost}. {self._remedy}"
            )
        error = WorkerLostError(
            f"The worker process that hosted the inner environment was lost: {self._why_lost}. "
            "Its episodes are played again in a new one."
        )
        error.is_culprit = is_culprit
        return error


def _kill_group(process: BaseProcess) -> None:
    """Kill the process and its children, and wait until it has ended, at most five seconds."""
    if process.pid is not None and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # no group yet if it has only just started
    process.kill()
    for _ in range(1_000):  # not `join`: it waits for the sentinel
        if process.exitcode is not None:
            break
        time.sleep(0.005)


class _ProcessEnv:
    def __init__(self, worker: _Worker, slot: int) -> None:
        self._worker, self._slot = worker, slot

    async def reset(self, task: Task) -> Frame:
        return Frame(*await self._worker.ask(self._slot, "reset", task))

    async def step(self, command: str) -> Frame:
        return Frame(*await self._worker.ask(self._slot, "step", command))
