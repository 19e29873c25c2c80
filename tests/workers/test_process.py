"""ProcessWorkers: whatever an environment does to its process, it harms nothing else."""

from __future__ import annotations

import asyncio
import functools
import gc
import multiprocessing
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
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
from metagym.workers import LocalWorkers, ProcessLimits, ProcessWorkers, WorkerLostError
from metagym.workers.serving import SentError
from tests.conftest import run_python
from tests.workers.naughty import ExitsInClose, Naughty, missing_package, missing_version, shared

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

    play.opened = opened  # type: ignore[attr-defined]
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


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_replaced(play: Play, tmp_path: Path) -> None:
    once = functools.partial(Naughty, str(tmp_path / "mark"))
    played = play(["go", "hang", "go", "go"], count=2, make_env=once, step_timeout_s=0.3)
    assert [item.stop_reason for item in played] == [StopReason.TERMINATED] * 2
    (played,) = play(["hang"], step_timeout_s=0.2)
    assert "no answer within 0.2 s" in played.error


def test_a_worker_that_answered_while_the_loop_was_blocked_is_kept() -> None:
    """A plain function as an actor may block the loop for longer than a step may take."""

    async def main() -> str:
        async with workers.lease() as env:
            await env.reset(episodes(1)[0].task)
            (worker,) = workers._workers
            worker._timeout_s = 0.001
            step = asyncio.ensure_future(env.step("go"))
            await asyncio.sleep(0)
            assert select.select([worker._socket], [], [], 30)[0]  # blocks until the answer is in the socket
            time.sleep(0.01)
            return (await step).text

    workers = ProcessWorkers(Naughty, 1)
    assert background.run(main()) == "count 1"
    workers.close()


def test_a_python_error_ends_one_environment_and_no_process(play: Play) -> None:
    (failed,) = play(["raise"])
    assert re.fullmatch(
        r"InnerEnvError: The inner environment raised in step\('raise'\): ValueError: as asked \(.*naughty.py:\d+\)",
        failed.error,
    )
    (exited,) = play(["exit"])
    assert "SystemExit: 3" in exited.error


def test_a_process_without_memory_for_its_imports_names_the_limit() -> None:
    error = SentError.of(MemoryError()).error()
    assert str(error).endswith(
        "could not load the environment: MemoryError. Raise memory_mib, the limit of the process's address space, or "
        "leave it out."
    )


def test_a_daemonic_process_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of Gymnasium's `vectorization_mode="async"`."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    workers = ProcessWorkers(Naughty, 1)
    with pytest.raises(ConfigError, match=r"'async'.*workers='local'"):
        background.run(workers.lease().__aenter__())


def test_an_environment_that_exits_in_close_hides_no_earlier_error(play: Play) -> None:
    (failed,) = play(["raise"], make_env=ExitsInClose)
    assert "ValueError: as asked" in failed.error


def test_an_environment_above_its_memory_limit_is_an_error(play: Play) -> None:
    (hungry,) = play(["eat"], memory_mib=4_000)
    assert "MemoryError" in hungry.error


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("die after a fork", "it died (exit code 7)"),
        pytest.param("kill after a fork", "it died (exit code -9)", marks=pytest.mark.slow),
        pytest.param("raise odd", "UnreadableError: what went wrong (tests", marks=pytest.mark.slow),
        ("miss", "NeedsMoreError: pip install nle==3 (tests"),
        pytest.param("return from a fork", "", marks=pytest.mark.slow),
        pytest.param("fork", "", marks=pytest.mark.slow),
        ("odd", ""),
    ],
)
def test_what_an_environment_does_is_found_at_once_and_named_as_in_this_process(
    play: Play, command: str, said: str
) -> None:
    """A fork keeps the socket of its parent open; odd exceptions and values cannot be unpickled."""
    began_at = time.monotonic()
    (played,) = play([command])
    assert time.monotonic() - began_at < 30, "it waited for a time limit"
    if "died" in said:
        assert said in played.error
        return
    engine = RolloutEngine(ScriptedActor([command]), LocalWorkers(Naughty), config=RolloutConfig(max_steps=6))
    local = None if "fork" in command else background.run(engine.run(episodes(1)))[0]
    assert said in played.error
    assert local is None or (played.error, played.traceback) == (local.error, local.traceback)
    assert [step.observation.text for step in played.steps] == ["seed 0", "count 1", "count 2", "count 3"] or said


def test_no_child_of_an_environment_outlives_its_worker(play: Play, tmp_path: Path) -> None:
    mark = tmp_path / "child"
    play(["child"], make_env=functools.partial(Naughty, str(mark)))
    child = int(mark.read_text())
    for workers in play.opened:  # type: ignore[attr-defined]
        workers.close()
    with pytest.raises(ProcessLookupError):
        _wait_for_end(child)


def test_a_package_that_is_too_old_is_named_by_its_own_error_at_once(play: Play) -> None:
    (played,) = play(["go"], make_env=missing_version)
    assert played.error.startswith("NeedsMoreError: pip install nle==3 (")


def test_a_class_that_a_process_cannot_import_is_an_error_that_says_so() -> None:
    workers = ProcessWorkers(Naughty, 1)
    workers._factory = pickle.dumps(Naughty).replace(b"Naughty", b"Missing")
    engine = RolloutEngine(ScriptedActor(["go"]), workers, config=RolloutConfig(max_steps=2, attempts=1))
    (played,) = background.run(engine.run(episodes(1)))
    workers.close()
    assert "could not load the environment: AttributeError" in played.error
    assert "module that can be imported" in played.error


def test_what_environments_print_reaches_no_terminal(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    play(["go"])
    assert capfd.readouterr() == ("", "")


def test_the_output_of_a_lost_worker_is_in_its_error(play: Play) -> None:
    (played,) = play(["go", "die"])
    assert "garbage on stderr" in played.error


def test_a_worker_whose_output_file_was_removed_fails_its_request_and_ends() -> None:
    """A cleaner of the folder for temporary files removes it."""

    async def main() -> None:
        async with workers.lease() as env:
            await env.reset(episodes(1)[0].task)
            os.unlink(workers._workers[0]._output.name)
            with pytest.raises(WorkerLostError, match=r"exit code 7(?s:.*)garbage on stderr"):
                await asyncio.wait_for(env.step("die"), 10)

    workers = ProcessWorkers(Naughty, 1)
    background.run(main())
    workers.close()


def test_one_worker_that_cannot_be_ended_leaves_no_other_one_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with workers.lease(), workers.lease():
            pass

    def fail() -> None:
        raise OSError("as asked")

    workers = ProcessWorkers(Naughty, 2)
    background.run(main())
    first, second = workers._workers
    end = first.kill
    monkeypatch.setattr(first, "kill", fail)
    with pytest.raises(OSError, match="as asked"):
        workers.close()
    end()
    assert not second._process.is_alive()


def test_a_process_is_replaced_after_its_number_of_episodes() -> None:
    async def processes() -> list[int]:
        seen = []
        for episode in episodes(4):
            async with workers.lease() as env:
                await env.reset(episode.task)
                seen.append((await env.step("go")).info["display"])
        return seen

    workers = ProcessWorkers(Naughty, 1, ProcessLimits(recycle_after=2))
    first, second, third, fourth = background.run(processes())
    workers.close()
    assert first == second != third == fourth


def test_a_worn_process_ends_before_the_next_one_starts() -> None:
    async def one(task: Task) -> int:
        async with workers.lease() as env:
            await env.reset(task)
            num_alive.add(len(multiprocessing.active_children()))
            return int((await env.step("go")).info["display"])

    async def processes() -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*(one(episode.task) for episode in episodes(4))), 60)

    num_alive: set[int] = set()
    workers = ProcessWorkers(Naughty, 1, ProcessLimits(recycle_after=2))
    played = background.run(processes())
    workers.close()
    assert (sorted(Counter(played).values()), num_alive) == ([2, 2], {1})


def test_closing_ends_a_worn_process_that_still_has_an_episode() -> None:
    async def main() -> None:
        async with workers.lease():
            waiting = asyncio.ensure_future(workers.lease().__aenter__())
            await asyncio.sleep(0)
            workers.close()
            assert not multiprocessing.active_children()
            waiting.cancel()

    workers = ProcessWorkers(Naughty, 1, ProcessLimits(recycle_after=1))
    background.run(main())


def test_a_worn_process_whose_episode_is_cancelled_while_it_starts_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> str:
        lease = asyncio.ensure_future(workers.lease().__aenter__())
        await asyncio.sleep(0)
        lease.cancel()
        await asyncio.gather(lease, return_exceptions=True)
        async with asyncio.timeout(60), workers.lease() as env:
            return (await env.reset(episodes(1)[0].task)).text

    workers = ProcessWorkers(Naughty, 1, ProcessLimits(recycle_after=1))
    assert background.run(main()) == "seed 0"
    workers.close()
    assert not caplog.records


def test_an_episode_with_a_missing_package_is_not_played_again(play: Play) -> None:
    (played,) = play(["go"], make_env=missing_package)
    assert played.error.startswith("ImportError: pip install something (")


def test_one_environment_for_two_episodes_at_once_is_an_error(play: Play) -> None:
    played = play(["go"], count=2, make_env=shared)
    assert sorted("new environment each time, got the same" in item.error for item in played) == [False, True]


def test_leases_spread_over_the_processes() -> None:
    async def processes() -> set[int]:
        async def one(task: Task) -> int:
            async with workers.lease() as env:
                await env.reset(task)
                await both.wait()
                return int((await env.step("go")).info["display"])

        both = asyncio.Barrier(2)
        return set(await asyncio.gather(*(one(episode.task) for episode in episodes(2))))

    workers = ProcessWorkers(Naughty, 2)
    assert len(background.run(processes())) == 2
    workers.close()


def test_a_script_without_a_main_guard_is_named_and_played_once(tmp_path: Path) -> None:
    """Each worker process runs the script again, and ends there."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent("""
            import metagym
            from metagym.envs.gates.meta import GatesMetaEnv

            env = GatesMetaEnv("demo", workers=1, episodes_per_step=1)
            env.reset(seed=0)
            env.step("p")
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, str(script)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    said = r"to start \(imports .*\), but it died \(exit code 1\)\. See the messages above\. .* `if __name__ == "
    assert re.search(said, ended.stderr)
    assert "at attempt 2" not in ended.stderr


def test_a_process_that_starts_too_slowly_fails_with_the_limit_to_raise(play: Play) -> None:
    (played,) = play(["go"], start_timeout_s=0.001)
    assert re.fullmatch(
        r"InfrastructureError: Expected a worker process to start \(.*\), but it gave no answer within 0.001 s\. "
        r"Raise start_timeout_s: workers={'processes': 4, 'start_timeout_s': 900}\.",
        played.error,
    )


def test_an_environment_that_cannot_be_pickled_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="picklable function"):
        ProcessWorkers(lambda: Naughty(), 1)
    with pytest.raises(ConfigError, match="num_processes >= 1"):
        ProcessWorkers(Naughty, 0)


def test_closing_a_worker_that_nobody_waits_for_any_more_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """As after Ctrl-C while it starts."""

    async def main() -> None:
        workers = ProcessWorkers(Naughty, 1)
        lease = asyncio.ensure_future(workers.lease().__aenter__())
        await asyncio.sleep(0.01)
        lease.cancel()
        await asyncio.gather(lease, return_exceptions=True)
        workers.close()
        await asyncio.sleep(0.01)
        workers._workers.clear()  # the task that starts the process is freed
        gc.collect()

    asyncio.run(main())
    gc.collect()
    assert not caplog.records


def test_workers_may_be_closed_twice() -> None:
    for workers in (LocalWorkers(Naughty), ProcessWorkers(Naughty, 1)):
        workers.close()
        workers.close()


def test_a_forked_child_uses_its_own_workers_and_leaves_those_of_its_parent_alone() -> None:
    code = """if True:
        import os, signal, sys, warnings
        from metagym.envs.gates.meta import GatesMetaEnv

        def step():
            return len(env.step("p")[0]), env._workers._workers[0]._process.pid

        if __name__ == "__main__":
            warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads
            env = GatesMetaEnv("demo", workers=1, episodes_per_step=2)
            env.reset(seed=0)
            before = step()
            if child := os.fork():
                print(os.waitpid(child, 0)[1], step() == before)
            else:
                signal.alarm(30)
                print(step() != before, flush=True)
            env.close()
        """
    ended = run_python(code)
    assert (ended.stdout, ended.stderr) == ("True\n0 True\n", "")


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
                    print((await env.step("go")).info["display"], flush=True)
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
