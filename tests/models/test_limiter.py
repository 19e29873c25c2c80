"""The limiter: adaptive concurrency, pauses, limits per minute. No real time passes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.models.server_profile import AdaptiveLimiter, Grant
from tests.models.clock import Clock


def limiter(clock: Clock | None = None, max_concurrency: int = 8, **limits: Any) -> AdaptiveLimiter:
    clock = clock or Clock()
    return AdaptiveLimiter(max_concurrency, clock=clock, sleep=clock.sleep, **limits)


async def fill(it: AdaptiveLimiter, number: int) -> list[Grant]:
    return [await it.acquire(1) for _ in range(number)]


def test_no_more_calls_are_in_flight_than_the_limit() -> None:
    async def main() -> None:
        it = limiter(max_concurrency=2)
        grants = await fill(it, 2)
        third = asyncio.create_task(it.acquire(1))
        await asyncio.sleep(0)
        assert not third.done()
        it.release(grants[0], "success")
        await third
        assert it.num_in_flight == 2

    asyncio.run(main())


def test_overload_halves_the_limit_once_for_all_calls_in_flight() -> None:
    async def main() -> None:
        clock = Clock()
        it = limiter(clock)
        grants = await fill(it, 8)
        clock.now += 1
        for grant in grants:
            it.release(grant, "overload")
        assert it.limit == 4.0

    asyncio.run(main())


def test_overload_never_takes_the_limit_below_one() -> None:
    async def main() -> None:
        clock = Clock()
        it = limiter(clock)
        for _ in range(10):
            [grant] = await fill(it, 1)
            clock.now += 1
            it.release(grant, "overload")
        assert it.limit == 1.0
        await it.acquire(1)

    asyncio.run(main())


def test_a_round_of_successes_raises_the_limit_by_one_up_to_its_bound() -> None:
    async def main() -> None:
        it = limiter(max_concurrency=8)
        it.limit = 4.0
        for _ in range(5):
            [grant] = await fill(it, 1)
            it.release(grant, "success")
        assert 5.0 <= it.limit <= 5.3
        for _ in range(100):
            [grant] = await fill(it, 1)
            it.release(grant, "success")
        assert it.limit == 8.0

    asyncio.run(main())


def test_calls_start_in_the_order_of_their_arrival() -> None:
    async def main() -> None:
        it, order = limiter(max_concurrency=1), []
        [grant] = await fill(it, 1)

        async def call(name: int) -> None:
            mine = await it.acquire(1)
            order.append(name)
            it.release(mine, "success")

        tasks = [asyncio.create_task(call(name)) for name in range(5)]
        await asyncio.sleep(0)
        it.release(grant, "success")
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4]

    asyncio.run(main())


def test_a_cancelled_wait_passes_its_turn_on() -> None:
    async def main() -> None:
        it = limiter(max_concurrency=1)
        [grant] = await fill(it, 1)
        first, second = (asyncio.create_task(it.acquire(1)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        it.release(grant, "success")
        await second
        assert it.num_in_flight == 1

    asyncio.run(main())


def test_a_wait_that_is_cancelled_when_its_turn_comes_passes_it_on() -> None:
    async def main() -> None:
        it = limiter(max_concurrency=1)
        [grant] = await fill(it, 1)
        first, second = (asyncio.create_task(it.acquire(1)) for _ in range(2))
        await asyncio.sleep(0)
        it.release(grant, "success")  # hands the turn to the first
        first.cancel()
        await second
        assert it.num_in_flight == 1

    asyncio.run(main())


def test_a_pause_holds_every_call_back() -> None:
    async def main() -> None:
        clock = Clock()
        it = limiter(clock)
        it.pause(20.0)
        await it.acquire(1)
        assert clock.now == 120.0

    asyncio.run(main())


@given(
    requests=st.integers(1, 5),
    tokens=st.integers(10, 60),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=25),
)
def test_no_sixty_seconds_hold_more_than_the_limits(requests: int, tokens: int, sizes: list[int]) -> None:
    async def main() -> list[tuple[float, int]]:
        clock = Clock()
        it = limiter(clock, max_concurrency=100, requests_per_minute=requests, tokens_per_minute=tokens)
        starts = []
        for size in sizes:
            grant = await it.acquire(size)
            starts.append((grant.at, size))
            it.release(grant, "success")
        return starts

    starts = asyncio.run(main())
    for at, _ in starts:
        inside = [size for start, size in starts if at <= start < at + 60 - 1e-3]
        assert len(inside) <= requests
        assert sum(inside) <= tokens or len(inside) == 1  # one amount above the limit passes alone


def test_a_small_call_does_not_overtake_a_large_one_that_waits() -> None:
    async def main() -> list[int]:
        clock, nap, order = Clock(), asyncio.get_running_loop().create_future(), []

        async def sleep(seconds: float) -> None:
            await nap
            await clock.sleep(seconds)

        it = AdaptiveLimiter(8, clock=clock, sleep=sleep, tokens_per_minute=100)

        async def call(num_tokens: int) -> None:
            await it.acquire(num_tokens)
            order.append(num_tokens)

        await it.acquire(60)
        calls = [asyncio.create_task(call(80)), asyncio.create_task(call(10))]
        await asyncio.sleep(0.0)
        nap.set_result(None)
        await asyncio.gather(*calls)
        return order

    assert asyncio.run(main()) == [80, 10]


def test_the_tokens_that_a_call_used_correct_its_estimate() -> None:
    async def main() -> None:
        clock = Clock()
        it = limiter(clock, tokens_per_minute=100)
        grant = await it.acquire(100)
        it.release(grant, "success", num_tokens=10)
        await it.acquire(90)
        assert clock.now == 100.0
        await it.acquire(50)
        assert clock.now == pytest.approx(160.0)

    asyncio.run(main())
