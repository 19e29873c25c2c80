"""One event loop in the background, so that synchronous code can call asynchronous code anywhere.

`MetaEnv.step` is synchronous, the engine under it is not: anybody, also inside a running event loop, calls
`run(coroutine)`, which runs it on a daemon thread. Each process has one such thread, made when it is first needed, so
that a model client shared by actor and reflector is used on one loop only.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
STOP_S = 10.0
"""Seconds to wait for a cancelled coroutine."""
_GROUP: ContextVar[_Group | None] = ContextVar("metagym_group", default=None)


class BackgroundLoop:
    """An event loop on a daemon thread, closed at interpreter exit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._started: set[asyncio.Task[None]] = set()

    def run_or_start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run `coroutine`; on this loop itself only start it: the garbage collector may close things in any thread."""
        if threading.current_thread() is not self._thread or self._loop is None:
            self.run(coroutine)
            return
        task = self._loop.create_task(coroutine)
        self._started.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._started.discard)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the background loop, wait, and return its result.

        Ctrl-C in the waiting thread cancels the coroutine. KeyboardInterrupt is raised when the coroutine has ended
        (or after `STOP_S` seconds), so that the caller may close the files it writes to.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError(
                "A synchronous metagym call was made from inside an async actor, reflector or callback. "
                "Await the asynchronous counterpart there (MetaEnv.replay_async, RolloutEngine.run), or make the "
                "function a plain one."
            )
        group = _GROUP.get()
        loop = self._running_loop()
        tasks: list[asyncio.Task[Any]] = []
        is_abandoned = False
        ended = threading.Event()
        future: concurrent.futures.Future[T] | None = None

        async def tracked() -> T:
            if is_abandoned:
                coroutine.close()
                raise asyncio.CancelledError
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            try:
                return await coroutine
            finally:
                ended.set()

        def abandon() -> None:
            nonlocal is_abandoned
            is_abandoned = True
            if future is None or not future.cancelled():  # a second cancellation would interrupt its clean-up
                for task in tasks:
                    task.cancel()
            if not tasks:  # it has not started, and never will
                coroutine.close()
                ended.set()

        try:
            future = asyncio.run_coroutine_threadsafe(tracked(), loop)
            with group.waiting_for(future) if group is not None else contextlib.nullcontext():
                return future.result()
        except BaseException:
            # Ctrl-C may come before there is a future to cancel: so cancel the coroutine itself.
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(abandon)
                ended.wait(STOP_S)
            raise

    async def run_from(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the background loop, and await its result on the caller's loop, which may be another."""
        if asyncio.get_running_loop() is self._loop:
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._running_loop()))

    def add_closer(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Await `closer` on this loop when it closes, for connections that a script left open."""
        self._closers.append(closer)

    def remove_closer(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Remove a closer that is no longer needed, so that its object may be freed."""
        with contextlib.suppress(ValueError):
            self._closers.remove(closer)

    def owns(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether `loop` is this one."""
        return loop is self._loop

    def close(self) -> None:
        """Await the closers, stop the loop and wait for the thread. Calling it twice is fine."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        with contextlib.suppress(TimeoutError):  # a step that blocks the loop ends with the process
            asyncio.run_coroutine_threadsafe(self._run_closers(), loop).result(timeout=5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)

    def forget(self) -> None:
        """Reset this loop in a forked child, which does not have the thread."""
        self.__init__()  # type: ignore[misc]

    async def _run_closers(self) -> None:
        closers, self._closers = self._closers, []
        current = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not current]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, *(closer() for closer in closers), return_exceptions=True)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._main, args=(self._loop,), name="metagym", daemon=True)
                self._thread.start()
            return self._loop

    @staticmethod
    def _main(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            # SystemExit and KeyboardInterrupt end `run_forever`, after their task has kept them for its caller.
            # The loop must then continue, or that caller would wait for ever.
            is_stopped = False
            while not is_stopped:
                with contextlib.suppress(SystemExit, KeyboardInterrupt):
                    loop.run_forever()
                    is_stopped = True
        finally:
            loop.close()


class _Group:
    """Threads of which one runs at a time."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self._waited_for: set[concurrent.futures.Future[Any]] = set()
        self._is_stopped = False

    @contextlib.contextmanager
    def waiting_for(self, future: concurrent.futures.Future[Any]) -> Iterator[None]:
        """Let another thread of the group run while this one waits for `future`."""
        self._waited_for.add(future)
        if self._is_stopped:
            future.cancel()
        self.turn.release()
        try:
            yield
        finally:
            self.turn.acquire()
            self._waited_for.discard(future)

    def stop(self) -> None:
        """Cancel the futures that threads wait for, and all later ones."""
        self._is_stopped = True
        for future in tuple(self._waited_for):
            future.cancel()


def run_side_by_side(functions: Sequence[Callable[[], T]], *, max_threads: int) -> Generator[T, None, None]:
    """Yield the results of synchronous functions in order; while one waits for the loop, others run.

    Only one runs at a time, so that they may share objects that are not safe for threads. If one fails, or the
    caller closes the generator, the running functions are cancelled, and no further one is started.
    """
    if max_threads == 1:
        yield from (function() for function in functions)
        return
    group = _Group()

    def main(function: Callable[[], T]) -> T:
        with group.turn:
            _GROUP.set(group)  # in this function's own context
            return function()

    with concurrent.futures.ThreadPoolExecutor(max_threads, thread_name_prefix="metagym") as pool:
        futures = [pool.submit(contextvars.copy_context().run, main, function) for function in functions]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            group.stop()


# The one exception to "no module-level state": like the standard library's default executor, the loop
# belongs to the process, and is needed until the process exits.
LOOP = BackgroundLoop()
atexit.register(LOOP.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LOOP.forget)

run, run_from, run_or_start = LOOP.run, LOOP.run_from, LOOP.run_or_start
