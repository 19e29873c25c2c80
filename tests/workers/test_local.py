"""LocalWorkers: environments are leased for one episode, pooled, reused, and thrown away if they broke."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from metagym.errors import InnerEnvError
from metagym.workers import LocalWorkers
from tests.conftest import CorridorEnv, make_task


class Made(list[CorridorEnv]):
    """Makes corridors and remembers them."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def __call__(self) -> CorridorEnv:
        self.append(CorridorEnv(**self.options))
        return self[-1]


async def play(workers: LocalWorkers, seed: int = 3) -> str:
    async with workers.lease() as env:
        await env.reset(make_task(seed=seed))
        return (await env.step("east")).text


def test_environments_are_reused_one_after_another() -> None:
    made = Made()
    workers = LocalWorkers(made)

    async def main() -> None:
        for _ in range(5):
            await play(workers)

    asyncio.run(main())
    assert len(made) == 1


def test_each_lease_has_its_own_environment() -> None:
    made = Made()
    workers = LocalWorkers(made)

    async def main() -> None:
        async with workers.lease() as one, workers.lease() as two:
            await one.reset(make_task(seed=1))
            await two.reset(make_task(seed=4))
            assert (await one.step("east")).text == "Field 2 of 3."
            assert (await two.step("east")).text == "Field 2 of 6."

    asyncio.run(main())
    assert len(made) == 2


def test_one_environment_for_two_episodes_at_once_is_an_error() -> None:
    shared = CorridorEnv()
    workers = LocalWorkers(lambda: shared)

    async def main() -> None:
        async with workers.lease():
            with pytest.raises(InnerEnvError, match=r"to return a new environment each time, got the same"):
                await play(workers)
        assert await play(workers, seed=4) == "Field 2 of 6.", "one after another does no harm"

    asyncio.run(main())


def test_a_reset_passes_the_tasks_seed_and_id() -> None:
    asked: list[Any] = []

    class Asking(CorridorEnv):
        def reset(self, **kwargs: Any) -> Any:
            asked.append(kwargs)
            return super().reset(**kwargs)

    asyncio.run(play(LocalWorkers(Asking), seed=5))
    assert asked == [{"seed": 5, "options": {"task_id": "law-0000/1"}}]


@pytest.mark.parametrize("where", ["reset", "step east"])
def test_an_environment_that_raised_is_closed_and_not_used_again(where: str) -> None:
    faults = [where]

    def broken(now: str) -> None:
        if now in faults:
            faults.remove(now)
            raise OSError("the disk is full")

    made = Made(broken=broken)
    workers = LocalWorkers(made)

    async def main() -> None:
        with pytest.raises(
            InnerEnvError, match=r"The inner environment raised in .*OSError: the disk is full"
        ) as raised:
            await play(workers)
        assert isinstance(raised.value.__cause__, OSError)
        await play(workers)

    asyncio.run(main())
    assert [env.closed for env in made] == [1, 0]


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_an_environment_that_breaks_again_in_close_does_no_harm(kind: type[BaseException]) -> None:
    class Brittle(CorridorEnv):
        def step(self, action: str) -> Any:
            raise OSError("broken")

        def close(self) -> None:
            raise kind("broken in close too")

    with pytest.raises(InnerEnvError, match=r"OSError: broken$"):
        asyncio.run(play(LocalWorkers(Brittle)))


def test_an_environment_that_cannot_be_made_is_an_error() -> None:
    def make() -> CorridorEnv:
        raise OSError("no such level")

    with pytest.raises(InnerEnvError, match=r"could not be made: OSError: no such level"):
        asyncio.run(play(LocalWorkers(make)))


def test_a_missing_package_keeps_its_own_message() -> None:
    def make() -> CorridorEnv:
        raise ImportError("pip install 'metagym[minihack]'")

    with pytest.raises(ImportError, match=r"metagym"):
        asyncio.run(play(LocalWorkers(make)))


def test_close_closes_the_idle_environments_once() -> None:
    made = Made()
    workers = LocalWorkers(made)
    asyncio.run(play(workers))
    workers.close()
    workers.close()
    assert [env.closed for env in made] == [1]


def test_an_environment_in_use_is_closed_when_its_lease_ends() -> None:
    made = Made()
    workers = LocalWorkers(made)

    async def main() -> None:
        async with workers.lease() as env:
            await env.reset(make_task())
            workers.close()
            assert made[0].closed == 0

    asyncio.run(main())
    assert made[0].closed == 1
