"""The background loop: synchronous code calls asynchronous code from anywhere, and nothing hangs."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections.abc import Iterator

import pytest

from metagym import background
from metagym.background import BackgroundLoop, run_side_by_side
from tests.conftest import run_python


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    background = BackgroundLoop()
    yield background
    background.close()


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_run_returns_the_result(loop: BackgroundLoop) -> None:
    assert loop.run(double(21)) == 42


def test_run_raises_what_the_coroutine_raised(loop: BackgroundLoop) -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match=r"x"):
        loop.run(fail())


def test_run_works_inside_a_running_event_loop(loop: BackgroundLoop) -> None:
    async def main() -> int:
        return loop.run(double(1))

    assert asyncio.run(main()) == 2


def test_run_from_another_loop_runs_on_the_background_loop(loop: BackgroundLoop) -> None:
    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def fail() -> None:
        raise KeyError("x")

    own = loop.run(running())
    assert asyncio.run(loop.run_from(running())) is own
    assert loop.run(loop.run_from(running())) is own
    with pytest.raises(KeyError, match="x"):
        asyncio.run(loop.run_from(fail()))


def test_cancelling_run_from_another_loop_cancels_the_coroutine(loop: BackgroundLoop) -> None:
    started, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def main() -> None:
        task = asyncio.ensure_future(loop.run_from(wait()))
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert ended.wait(10)


def test_run_works_from_many_threads(loop: BackgroundLoop) -> None:
    results: list[int] = []
    threads = [threading.Thread(target=lambda n=n: results.append(loop.run(double(n)))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(results) == [2 * n for n in range(8)]


def test_a_synchronous_call_from_inside_the_loop_is_refused_with_the_remedy(loop: BackgroundLoop) -> None:
    async def nested() -> int:
        return loop.run(double(1))

    with pytest.raises(RuntimeError, match=r"made from inside an async actor, reflector or callback. Await"):
        loop.run(nested())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("leaving", [SystemExit, KeyboardInterrupt])
def test_a_coroutine_that_leaves_the_interpreter_does_not_hang_the_caller(
    loop: BackgroundLoop, leaving: type[BaseException]
) -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        raise leaving

    with pytest.raises(leaving):
        loop.run(leave())
    assert loop.run(double(2)) == 4


def test_ctrl_c_cancels_the_coroutine() -> None:
    """The wait is interrupted in the main thread; the coroutine ends, and the loop goes on."""
    code = """if True:
        import asyncio, signal, threading
        from metagym import background

        cancelled = threading.Event()

        async def wait_for_ever():
            try:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def one():
            return 1

        try:
            background.run(wait_for_ever())
        except KeyboardInterrupt:
            print("interrupted", cancelled.wait(10), background.run(one()))
        """
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("interrupted True 1\n", "")


def test_close_awaits_what_was_registered_and_cancels_the_rest() -> None:
    loop = BackgroundLoop()
    closed: list[str] = []

    async def closer() -> None:
        closed.append("closed")

    async def failing() -> None:
        raise OSError("gone already")

    async def start() -> None:
        async def stay() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                closed.append("cancelled")

        loop.task = asyncio.create_task(stay())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    loop.add_closer(failing)
    loop.add_closer(closer)
    loop.run(start())
    loop.close()
    loop.close()
    assert sorted(closed) == ["cancelled", "closed"]


def test_a_closed_loop_starts_again() -> None:
    loop = BackgroundLoop()
    assert loop.run(double(1)) == 2
    loop.close()
    assert loop.run(double(2)) == 4
    loop.close()


def test_close_of_a_loop_that_never_ran_is_fine() -> None:
    BackgroundLoop().close()


def test_owns_knows_its_own_loop(loop: BackgroundLoop) -> None:
    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert loop.owns(loop.run(running()))
    assert not loop.owns(asyncio.run(running()))


def test_a_forked_child_has_a_loop_of_its_own() -> None:
    code = """if True:
        import os, warnings
        warnings.simplefilter("ignore")
        from metagym import background

        async def one():
            return 1

        background.run(one())
        child = os.fork()
        if child == 0:
            os._exit(background.run(one()) + 6)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), background.run(one()))
        """
    assert run_python(code).stdout == "7 1\n"


# Side by side ---------------------------------------------------------------------------------------------


def test_functions_run_while_others_wait_and_results_keep_their_order() -> None:
    met: list[asyncio.Event] = []

    async def meet(number: int) -> int:
        if not met:
            met.append(asyncio.Event())
            await asyncio.wait_for(met[0].wait(), 20)  # until another one has started: alone it would time out
        met[0].set()
        return number

    functions = [functools.partial(lambda number: background.run(meet(number)), number) for number in range(4)]
    assert list(run_side_by_side(functions, max_threads=2)) == [0, 1, 2, 3]


def test_one_function_runs_at_a_time() -> None:
    awake: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            awake.append(1)
            most.extend(len(awake) for _ in range(100))
            awake.pop()
            background.run(asyncio.sleep(0))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads that may run at once do run at once then
    try:
        list(run_side_by_side([work] * 8, max_threads=4))
    finally:
        sys.setswitchinterval(interval)
    assert max(most) == 1


def test_a_failure_cancels_running_functions_and_starts_no_further_one() -> None:
    begun: list[str] = []

    def wait() -> None:
        begun.append("waits")
        background.run(asyncio.sleep(3600))

    def fail() -> None:
        begun.append("fails")
        background.run(asyncio.sleep(0))
        raise ValueError("no ink")

    with pytest.raises(ValueError, match="no ink"):
        list(run_side_by_side([fail, wait, wait, wait], max_threads=2))
    assert begun.count("waits") <= 2


def test_a_failure_is_raised_after_cancelled_functions_have_ended() -> None:
    """The caller then closes the run folder: nothing may write to it any more."""
    begun, steps = threading.Event(), list[str]()

    async def ends_slowly() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            steps.append("ended")

    async def until_begun() -> None:
        while not begun.is_set():
            await asyncio.sleep(0)

    def fail() -> None:
        background.run(until_begun())
        raise ValueError("no ink")

    with pytest.raises(ValueError, match="no ink"):
        list(run_side_by_side([fail, lambda: background.run(ends_slowly())], max_threads=2))
    assert steps == ["ended"]


def test_with_one_thread_functions_run_in_the_callers() -> None:
    threads = list(run_side_by_side([threading.current_thread] * 2, max_threads=1))
    assert threads == [threading.current_thread()] * 2
