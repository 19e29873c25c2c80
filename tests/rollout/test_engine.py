"""The engine: episodes do not wait for each other, and a failure loses no other episode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from metagym import ChatActor
from metagym.actor import FunctionActor, RandomActor
from metagym.errors import ModelError
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.testing import FakeChatModel
from metagym.types import Action, Episode, Observation, Step, Trajectory
from metagym.workers import LocalWorkers
from tests.conftest import CorridorEnv, make_trajectory
from tests.rollout.playing import EAST, engine, episodes

pytestmark = pytest.mark.timeout(30)

# The engine -------------------------------------------------------------------------------------------


class Gate:
    """An actor that waits until the gate is open, and knows which episodes wait."""

    scripted = True

    def __init__(self, held: Callable[[Episode], bool] = lambda episode: True) -> None:
        self.held = held
        self.open = asyncio.Event()
        self.waiting: set[str] = set()
        self.most = 0

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        if self.held(episode):
            self.waiting.add(episode.task.id)
            self.most = max(self.most, len(self.waiting))
            await self.open.wait()
            self.waiting.discard(episode.task.id)
        return Action(text="east")


async def settle() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(500):
        await asyncio.sleep(0)


def test_trajectories_come_in_the_order_of_the_episodes() -> None:
    asked = episodes(20)
    assert [item.episode for item in asyncio.run(engine(EAST).run(asked))] == asked


def test_no_episodes_are_no_trajectories() -> None:
    assert asyncio.run(engine(EAST).run([])) == ()


def test_a_slow_episode_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        gate = Gate(lambda episode: episode.task.id == "corridor/0")
        finished: list[str] = []
        playing = engine(gate, on_episode=lambda item: finished.append(item.task.id), max_concurrency=2)
        run = asyncio.create_task(playing.run(episodes(30)))
        await settle()
        assert sorted(finished) == sorted(f"corridor/{n}" for n in range(1, 30))
        assert not run.done()
        gate.open.set()
        assert len(await run) == 30
        assert finished[-1] == "corridor/0"

    asyncio.run(main())


def test_episodes_do_not_wait_for_a_slow_step_of_another() -> None:
    """Lockstep would leave every other episode at the same step."""

    async def main() -> None:
        gate = Gate(lambda episode: episode.task.id == "corridor/6")
        finished: list[str] = []
        run = asyncio.create_task(engine(gate, on_episode=lambda item: finished.append(item.task.id)).run(episodes(7)))
        await settle()
        assert len(finished) == 6
        gate.open.set()
        await run

    asyncio.run(main())


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (64, 10)])
def test_no_more_than_max_concurrency_episodes_are_in_flight(limit: int, most: int) -> None:
    async def main() -> int:
        gate = Gate()
        run = asyncio.create_task(engine(gate, max_concurrency=limit).run(episodes(10)))
        await settle()
        assert len(gate.waiting) == most
        gate.open.set()
        await run
        return gate.most

    assert asyncio.run(main()) <= most


def test_no_more_episodes_are_in_flight_than_the_model_has_places_for() -> None:
    gate = Gate()
    gate.model = FakeChatModel(["unused"])  # type: ignore[attr-defined]
    gate.model.max_conversations = 2  # type: ignore[attr-defined]

    async def main() -> None:
        run = asyncio.create_task(engine(gate, max_concurrency=8).run(episodes(10)))
        await settle()
        assert len(gate.waiting) == 2
        gate.open.set()
        await run

    asyncio.run(main())
    assert gate.most == 2


def test_runs_at_the_same_time_share_the_limit_on_concurrency() -> None:
    """Reflectors with their own rollouts play at the same time."""

    async def main() -> int:
        gate = Gate()
        playing = engine(gate, max_concurrency=3)
        tasks = episodes(10)
        runs = [asyncio.create_task(playing.run(tasks[start : start + 2])) for start in range(0, 10, 2)]
        await settle()
        assert len(gate.waiting) == 3
        gate.open.set()
        assert [len(await run) for run in runs] == [2] * 5
        return gate.most

    assert asyncio.run(main()) == 3


def test_on_episode_is_called_once_for_each_as_it_finishes() -> None:
    handed: list[Trajectory] = []
    trajectories = asyncio.run(engine(EAST, on_episode=handed.append, max_concurrency=3).run(episodes(11)))
    assert sorted(handed, key=lambda item: item.task.seed) == list(trajectories)


def test_one_failed_call_does_not_lose_the_batch() -> None:
    def act(episode: Episode, steps: Sequence[Step], observation: Observation) -> str:
        if episode.task.seed == 3:
            raise ModelError("down")
        return "east"

    trajectories = asyncio.run(engine(FunctionActor(act)).run(episodes(8)))
    assert [item.score for item in trajectories] == [1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0, 1.0]


def test_an_on_episode_that_raises_loses_nothing_that_was_finished() -> None:
    handed: list[Trajectory] = []

    def on_episode(trajectory: Trajectory) -> None:
        handed.append(trajectory)
        if len(handed) == 4:
            raise OSError("the disk is full")

    async def main() -> None:
        playing = engine(EAST, on_episode=on_episode, max_concurrency=2)
        with pytest.raises(OSError, match=r"the disk is full"):
            await playing.run(episodes(20))
        assert all(item.score == 1.0 for item in handed)
        assert len(handed) >= 4
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(await playing.run(episodes(3))) == 3

    asyncio.run(main())


def test_an_on_episode_that_raises_does_not_wait_for_the_episodes_in_flight() -> None:
    def on_episode(trajectory: Trajectory) -> None:
        raise OSError("the disk is full")

    async def main() -> None:
        gate = Gate(lambda episode: episode.task.id == "corridor/0")  # which never opens
        with pytest.raises(OSError, match=r"the disk is full"):
            await engine(gate, on_episode=on_episode, max_concurrency=2).run(episodes(5))

    asyncio.run(main())


def test_cancelling_leaves_no_tasks_and_the_engine_usable() -> None:
    async def main() -> None:
        gate = Gate()
        playing = engine(gate, max_concurrency=4)
        run = asyncio.create_task(playing.run(episodes(10)))
        await settle()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert asyncio.all_tasks() == {asyncio.current_task()}
        gate.open.set()
        assert [item.score for item in await playing.run(episodes(10))] == [1.0] * 10

    asyncio.run(main())


def test_an_actor_that_exits_the_interpreter_is_not_swallowed() -> None:
    def act(*args: Any) -> str:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        asyncio.run(engine(FunctionActor(act)).run(episodes(5)))


def test_recalled_episodes_are_not_played_and_not_reported_again() -> None:
    asked = episodes(4)
    known = {asked[1].key: make_trajectory(episode=asked[1]), asked[3].key: make_trajectory(episode=asked[3])}
    handed: list[str] = []
    playing = engine(EAST, recall=lambda e: known.get(e.key), on_episode=lambda item: handed.append(item.task.id))
    trajectories = asyncio.run(playing.run(asked))
    assert (trajectories[1], trajectories[3]) == (known[asked[1].key], known[asked[3].key])
    assert sorted(handed) == ["corridor/0", "corridor/2"]


class Fresh(LocalWorkers):
    """Makes an environment for each episode."""

    def lease(self) -> Any:
        self.close()
        return super().lease()


@pytest.mark.parametrize("actor", [RandomActor(), EAST, ChatActor(FakeChatModel(["Action: fly", "Action: east"]))])
def test_trajectories_do_not_depend_on_concurrency_or_on_the_re_use_of_environments(actor: Any) -> None:
    def dump(concurrency: int, workers: LocalWorkers) -> list[str]:
        config = RolloutConfig(max_concurrency=concurrency)
        playing = RolloutEngine(actor, workers, config=config)
        return [item.model_dump_json() for item in asyncio.run(playing.run(episodes(40)))]

    one = dump(1, LocalWorkers(CorridorEnv))
    assert dump(32, LocalWorkers(CorridorEnv)) == one
    assert dump(32, Fresh(CorridorEnv)) == one
    assert dump(1, Fresh(CorridorEnv)) == one
