"""ProcessWorkers: whatever an environment does to its process, it harms nothing else."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import pytest

from metagym import background
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import ConfigError
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.testing import ScriptedActor
from metagym.types import Episode, StopReason, Task, Trajectory
from metagym.workers import LocalWorkers, ProcessLimits, ProcessWorkers
from tests.workers.naughty import Naughty, missing_package

Play = Callable[..., tuple[Trajectory, ...]]


def episodes(count: int) -> list[Episode]:
    tasks = [Task(id=f"t/{seed}", family="t", split="train", seed=seed) for seed in range(count)]
    return [Episode(prompt=task.id, task=task, seed=task.seed) for task in tasks]


@pytest.fixture
def play() -> Iterator[Play]:
    opened: list[ProcessWorkers] = []

    def play(actions: list[str], *, count: int = 1, make_env: Callable[[], Naughty] = Naughty, **options: object):
        workers = ProcessWorkers(make_env, 1, ProcessLimits(**options))
        opened.append(workers)
        engine = RolloutEngine(ScriptedActor(actions), workers, config=RolloutConfig(max_steps=6))
        return background.run(engine.run(episodes(count)))

    yield play
    for workers in opened:
        workers.close()
    assert not multiprocessing.active_children(), "a worker was left behind"


def test_processes_give_the_same_trajectories_as_this_process() -> None:
    def steps(workers: object) -> list[str]:
        with GatesMetaEnv(actor="demo", workers=workers, episodes_per_step=12) as env:
            env.reset(seed=3)
            return [item.model_dump_json() for item in env.step("- when the gate is oak, push")[0]]

    local = steps("local")
    assert steps(1) == local
    assert steps(2) == local


def test_a_worker_that_dies_is_replaced_and_its_episodes_are_played_again(play: Play, tmp_path: Path) -> None:
    once = functools.partial(Naughty, str(tmp_path / "mark"))
    played = play(["go", "die", "go", "go"], count=5, make_env=once)
    assert [item.stop_reason for item in played] == [StopReason.TERMINATED] * 5


def test_an_episode_whose_worker_dies_each_time_fails_after_its_attempts(play: Play) -> None:
    (played,) = play(["go", "die"])
    assert (played.stop_reason, played.score) == (StopReason.ERROR, None)
    assert "it died (exit code 7)" in played.error
    assert len(played.steps) == 1, "what was played before is kept"


def test_an_episode_is_not_blamed_if_another_takes_the_process_down() -> None:
    class Mixed(ScriptedActor):
        async def act(self, episode, steps, observation):
            return self.actions[0] if episode.task.seed == 0 else self.actions[1]

    workers = ProcessWorkers(Naughty, 1)
    engine = RolloutEngine(Mixed(["die", "go"]), workers, config=RolloutConfig(max_steps=6, attempts=1))
    played = background.run(engine.run(episodes(6)))
    workers.close()
    assert [item.stop_reason.value for item in played] == ["error", *["terminated"] * 5]


def test_a_worker_that_hangs_is_killed_and_replaced(play: Play, tmp_path: Path) -> None:
    once = functools.partial(Naughty, str(tmp_path / "mark"))
    played = play(["go", "hang", "go", "go"], count=2, make_env=once, step_timeout_s=0.3)
    assert [item.stop_reason for item in played] == [StopReason.TERMINATED] * 2
    (played,) = play(["hang"], step_timeout_s=0.2)
    assert "no answer within 0.2 s" in played.error


def test_a_python_error_ends_one_environment_and_no_process(play: Play) -> None:
    (failed,) = play(["raise"])
    assert failed.error == "InnerEnvError: The inner environment raised in step('raise'): ValueError: as asked"
    (exited,) = play(["exit"])
    assert "exit code 3" in exited.error


def test_an_environment_above_its_memory_limit_is_an_error(play: Play) -> None:
    (hungry,) = play(["eat"], memory_mib=4_000)
    assert "MemoryError" in hungry.error


def test_an_answer_that_cannot_be_pickled_is_an_error(play: Play) -> None:
    (played,) = play(["unpicklable"])
    assert "cannot be pickled" in played.error


def test_what_environments_print_reaches_no_terminal(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    play(["go"])
    assert capfd.readouterr() == ("", "")


def test_the_output_of_a_lost_worker_is_in_its_error(play: Play) -> None:
    (played,) = play(["go", "die"])
    assert "garbage on stderr" in played.error


def test_a_process_is_replaced_after_its_number_of_episodes() -> None:
    async def processes() -> list[int]:
        seen = []
        for episode in episodes(4):
            async with workers.lease() as env:
                await env.reset(episode.task)
                seen.append((await env.step("go")).info["process"])
        return seen

    workers = ProcessWorkers(Naughty, 1, ProcessLimits(recycle_after=2))
    first, second, third, fourth = background.run(processes())
    workers.close()
    assert first == second != third == fourth


def test_an_episode_with_a_missing_package_is_not_played_again(play: Play) -> None:
    (played,) = play(["go"], make_env=missing_package)
    assert played.error == "ImportError: pip install something"


def test_leases_spread_over_the_processes() -> None:
    async def processes() -> set[int]:
        async def one(task: Task) -> int:
            async with workers.lease() as env:
                await env.reset(task)
                await both.wait()
                return int((await env.step("go")).info["process"])

        both = asyncio.Barrier(2)
        return set(await asyncio.gather(*(one(episode.task) for episode in episodes(2))))

    workers = ProcessWorkers(Naughty, 2)
    assert len(background.run(processes())) == 2
    workers.close()


def test_an_environment_that_cannot_be_pickled_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="picklable function"):
        ProcessWorkers(lambda: Naughty(), 1)
    with pytest.raises(ConfigError, match="num_processes >= 1"):
        ProcessWorkers(Naughty, 0)


def test_workers_may_be_closed_twice() -> None:
    for workers in (LocalWorkers(Naughty), ProcessWorkers(Naughty, 1)):
        workers.close()
        workers.close()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(sign: signal.Signals, tmp_path: Path) -> None:
    """Not even one that hangs, and not even if the parent is killed with -9."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
            import metagym
            from metagym import background
            from metagym.types import Task
            from metagym.workers import ProcessWorkers
            from tests.workers.naughty import Naughty

            async def main():
                workers = ProcessWorkers(Naughty, 1)
                async with workers.lease() as env:
                    await env.reset(Task(id="t/0", family="t", split="train", seed=0))
                    print((await env.step("go")).info["process"], flush=True)
                    await env.step("hang")

            if __name__ == "__main__":
                background.run(main())
        """)
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(sign)
        parent.wait(timeout=20)
        # A pipe that the child holds open ends when the child does: this waits for exactly that.
        parent.stdout.read()
    with pytest.raises(ProcessLookupError):
        _wait_for_end(child)


def _wait_for_end(process: int) -> None:
    """Return while the process lives for another five seconds, raise ProcessLookupError once it is gone."""
    import time

    for _ in range(500):
        os.kill(process, 0)
        if Path(f"/proc/{process}/stat").exists() and Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
            raise ProcessLookupError
        time.sleep(0.01)


def test_worker_processes_serve_every_registered_environment() -> None:
    env = gym.make("MetaGym/Gates-v0", actor="demo", workers=1)
    env.reset(seed=0)
    assert 0.0 <= float(env.step("a")[1]) <= 1.0
    env.close()
