"""RayWorkers: episodes run on a cluster, and their records and model calls come back to the driver."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metagym import ChatActor, background
from metagym.budget import Budget, Ledger
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import ConfigError
from metagym.models import Cassette
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.testing import FakeChatModel, ScriptedActor
from metagym.types import Action, Trajectory
from metagym.workers import LocalWorkers, RayWorkers, make_workers, read_workers
from tests.conftest import ROOT, CorridorEnv
from tests.rollout.playing import episodes
from tests.workers.naughty import Naughty, missing_package

needs_ray = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra metagym[ray]"),
]
pytestmark = [*needs_ray, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One Ray for all tests here; it takes seconds to start."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # no token in the home folder
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=40)
        yield
        ray.shutdown()


Play = Callable[..., tuple[Trajectory, ...]]


@pytest.fixture
def play() -> Iterator[Play]:
    opened: list[Any] = []

    def play(actor: Any, make_env: Any = CorridorEnv, *, count: int = 4, local: bool = False, **options: Any) -> Any:
        opened.append(LocalWorkers(make_env) if local else RayWorkers(make_env, num_hosts=options.pop("hosts", 2)))
        config = RolloutConfig(**{"max_steps": 6, **options})
        return background.run(RolloutEngine(actor, opened[-1], config=config).run(episodes(count)))

    yield play
    for workers in opened:
        workers.close()


def model() -> ChatActor:
    return ChatActor(FakeChatModel(["Thought: on.\nAction: east", "no action", "Action: east"]))


def test_the_cluster_gives_the_same_trajectories_as_this_process() -> None:
    def steps(workers: object) -> list[str]:
        with GatesMetaEnv(actor="demo", workers=workers, episodes_per_step=12) as env:
            env.reset(seed=3)
            return [item.model_dump_json() for item in env.step("- when the gate is oak, push")[0]]

    assert steps("ray") == steps("local")


def test_a_language_models_episodes_are_the_same_too(play: Play) -> None:
    assert play(model(), count=20) == play(model(), count=20, local=True)


class WhereAmI:
    scripted = True

    async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
        return Action(text="east", thought=str(os.getpid()))


def test_the_actor_plays_on_the_nodes_and_episodes_spread(play: Play) -> None:
    played = play(WhereAmI(), count=8)
    processes = {step.action.thought for item in played for step in item.steps}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes


def test_every_call_is_booked_on_the_drivers_ledger(play: Play) -> None:
    logged: list[Any] = []
    with Ledger().open() as ledger:
        ledger.on_attempt = logged.append
        play(model(), count=5)
    with Ledger().open() as local:
        play(model(), count=5, local=True)
    remote, expected = ledger.spent(role="actor"), local.spent(role="actor")
    assert remote.usage == expected.usage
    assert remote.usage.num_calls > 5
    assert [attempt.number for attempt in logged] == list(range(remote.usage.num_calls))


def test_every_exchange_is_kept_in_the_drivers_cassette_and_can_be_replayed(play: Play, tmp_path: Path) -> None:
    with Cassette(tmp_path / "replies.sqlite").open() as cassette:
        first = play(model(), count=3)
        assert len(cassette) == sum(len(item.steps) for item in first)
        silent = ChatActor(FakeChatModel([RuntimeError("asked although the reply is there")]))
        assert play(silent, count=3) == first
        cassette.close()
    with Cassette(tmp_path / "replies.sqlite", mode="replay").open() as cassette:
        assert play(silent, count=3) == first
        (_, _, _, missed) = play(silent, count=4)
        assert missed.error.startswith("CassetteMissError: ")
        cassette.close()


def test_a_run_without_calls_leaves_no_cassette(play: Play, tmp_path: Path) -> None:
    with Cassette(tmp_path / "replies.sqlite").open():
        play(ScriptedActor(["east"]))
    assert not (tmp_path / "replies.sqlite").exists()


def test_a_budget_is_refused_before_anything_is_played(play: Play) -> None:
    with Ledger(Budget(calls=100)).open(), pytest.raises(ConfigError, match=r"workers='ray' cannot keep a budget"):
        play(model())


def test_a_shared_cassette_is_refused(play: Play, tmp_path: Path) -> None:
    with Cassette(tmp_path / "a", share=True).open(), pytest.raises(ConfigError, match="share=True"):
        play(model())


def test_an_environment_that_dies_takes_its_process_and_no_other_episode(play: Play) -> None:
    class Mixed(ScriptedActor):
        async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
            return self.actions[0] if episode.task.seed == 0 else self.actions[1]

    played = play(Mixed(["die", "go"]), Naughty, hosts=1, attempts=1, count=6)
    assert [item.stop_reason.value for item in played] == ["error", *["terminated"] * 5]
    assert "it died (exit code 7)" in played[0].error


def test_the_limits_of_the_option_hold_on_the_hosts() -> None:
    workers = make_workers(read_workers({"ray": 1, "step_timeout_s": 0.3}), Naughty, lambda: Naughty)
    engine = RolloutEngine(ScriptedActor(["hang"]), workers, config=RolloutConfig(attempts=1))
    (played,) = background.run(engine.run(episodes(1)))
    workers.close()
    assert "it gave no answer within 0.3 s" in played.error


def test_steps_before_a_failure_come_back(play: Play) -> None:
    remote, local = (
        play(ScriptedActor(["go", "raise"]), Naughty, count=1, local=is_local)[0] for is_local in (False, True)
    )
    assert remote == local
    assert len(remote.steps) == 1
    assert "ValueError: as asked (" in remote.error


def test_a_missing_package_keeps_its_message(play: Play) -> None:
    assert play(ScriptedActor(["go"]), missing_package, count=1)[0].error.startswith(
        "ImportError: pip install something ("
    )


class OddError(Exception):
    """Cannot be pickled: its constructor takes more than the text."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)


class Failing:
    async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
        raise OddError(1, "cannot travel")


def test_a_failure_that_cannot_be_pickled_keeps_its_name_and_text(play: Play) -> None:
    assert play(Failing(), count=1) == play(Failing(), count=1, local=True)
    assert play(Failing(), count=1)[0].error.startswith("OddError: cannot travel (")


def test_a_users_score_need_not_be_picklable() -> None:
    lock = threading.Lock()  # cannot be pickled

    def score(trajectory: Trajectory) -> float:
        with lock:
            return len(trajectory.steps) / 7

    workers = RayWorkers(CorridorEnv, num_hosts=1)
    engine = RolloutEngine(ScriptedActor(["east"]), workers, score=score)
    (played,) = background.run(engine.run(episodes(1)))
    workers.close()
    assert played.score == len(played.steps) / 7


def test_an_environment_or_an_actor_that_cannot_be_pickled_is_refused(play: Play) -> None:
    with pytest.raises(ConfigError, match="picklable function that makes an environment"):
        RayWorkers(functools.partial(CorridorEnv, info={"lock": threading.Lock()}))
    with pytest.raises(ConfigError, match="num_hosts >= 1"):
        RayWorkers(CorridorEnv, num_hosts=0)
    locked = ScriptedActor(["east"])
    locked.lock = threading.Lock()  # type: ignore[attr-defined]
    (played,) = play(locked, count=1)
    assert "ConfigError: workers='ray' needs a picklable actor" in played.error


class Endless:
    """Asks its model three times, leaves a file that says so, and waits for ever."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chat = ChatActor(FakeChatModel(["Action: west"]))

    async def act(self, episode: Any, steps: Any, observation: Any) -> Action:
        if len(steps) == 3:
            (self.folder / str(episode.seed)).touch()
            await asyncio.Event().wait()
        return await self.chat.act(episode, steps, observation)


def test_a_cancelled_episode_ends_on_its_host_and_its_calls_are_booked(tmp_path: Path) -> None:
    workers = RayWorkers(CorridorEnv, num_hosts=1)
    engine = RolloutEngine(Endless(tmp_path), workers, config=RolloutConfig(max_steps=9))

    async def main() -> None:
        run = asyncio.create_task(engine.run(episodes(2)))
        while len(list(tmp_path.iterdir())) < 2:
            await asyncio.sleep(0.02)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    with Ledger().open() as ledger:
        background.run(main())
    workers.close()
    assert ledger.spent().usage.num_calls == 6


def test_close_ends_the_hosts_and_twice_is_fine(play: Play) -> None:
    workers = RayWorkers(Naughty, num_hosts=1)
    engine = RolloutEngine(ScriptedActor(["go"]), workers)
    background.run(engine.run(episodes(1)))
    actor = workers._hosts[0].actor  # type: ignore[union-attr]
    workers.close()
    workers.close()
    import ray
    from ray.exceptions import RayActorError

    def call_until_it_has_ended() -> None:
        while True:  # Ray ends the actor some time after `close`; pytest's time limit ends this loop
            ray.get(actor.cancel.remote(0), timeout=30)

    with pytest.raises(RayActorError):
        call_until_it_has_ended()


def run_script(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        capture_output=True,
        text=True,
        timeout=220,
        env=environment,
        check=False,
    )


def test_a_lost_nodes_episodes_are_played_again(tmp_path: Path) -> None:
    """Two nodes; one is killed when three episodes have come back, and others wait on both nodes."""
    done = run_script(
        """
        import json, logging, sys, threading
        from pathlib import Path
        import ray
        from ray.cluster_utils import Cluster
        from metagym import background
        from metagym.rollout import RolloutConfig, RolloutEngine
        from metagym.workers import LocalWorkers, RayWorkers
        from tests.conftest import CorridorEnv
        from tests.rollout.playing import episodes
        from tests.workers.slow import WaitingActor

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        mark, back, losses = Path(sys.argv[1]) / "killed", [], []

        class Losses(logging.Handler):
            def emit(self, record):
                losses.append(record.getMessage())
                mark.touch()  # only now may the others continue: a process of a dead node may live a little longer

        logging.getLogger("metagym.workers.ray").addHandler(Losses())

        def on_episode(trajectory):
            back.append(trajectory.episode.key)
            if len(back) == 3:
                threading.Thread(target=cluster.remove_node, args=(nodes[0], False)).start()

        def engine(workers, **options):
            config = RolloutConfig(max_steps=8, max_concurrency=8, attempts=1)
            return RolloutEngine(WaitingActor(str(mark)), workers, config=config, **options)

        workers = RayWorkers(CorridorEnv)
        played = background.run(engine(workers, on_episode=on_episode).run(episodes(30)))
        serial = background.run(engine(LocalWorkers(CorridorEnv)).run(episodes(30)))
        found = {"same": played == serial, "recorded": len(back), "once": len(set(back)) == 30, "lost": len(losses) > 0}
        print(json.dumps(found))
        workers.close()
        ray.shutdown()
        cluster.shutdown()
        """,
        str(tmp_path),
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]  # Ray prints lines of its own
    assert found, done.stderr[-2000:]
    assert json.loads(found[0]) == {"same": True, "recorded": 30, "once": True, "lost": True}
