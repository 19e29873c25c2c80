"""Ctrl-C in a meta-step: nothing hangs, no process is left behind, no episode is lost, and a resume ends the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metagym.runs import LOG, Manifest, RunFolder
from metagym.runs.running import run_experiment
from tests.conftest import ROOT
from tests.workers.slow import is_held
from tests.workers.test_ray import needs_ray

SCRIPT = """if True:
    import sys
    from tests.test_interruption import manifest
    from metagym.runs.running import run_experiment

    workers, path, resume = sys.argv[1:]
    if workers.isdigit():
        workers = int(workers)
    if __name__ == "__main__":
        run_experiment(manifest(workers), path, resume=resume == "resume")
"""


def manifest(workers: Any) -> Manifest:
    options = {"actor": "tests.workers.slow:HoldingActor", "workers": workers, "episodes_per_step": 12}
    return Manifest(env_id="MetaGym/Gates-v0", env_options=options, reflector="demo", seed=4, num_steps=3)


def start(mark: Path, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "HOLD_UNTIL": str(mark), "RAY_AUTH_MODE": "disabled"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(holds: Callable[[], bool], what: str, *, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)


def num_logged(path: Path) -> int:
    log = path / LOG
    return log.read_bytes().count(b'{"kind":"episode"') if log.exists() else 0


def left_behind(mark: Path) -> list[str]:
    """Return the processes that were started with this mark in their environment."""
    wanted, found = f"HOLD_UNTIL={mark}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for leftovers in /proc")
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "workers", ["local", pytest.param("2", marks=pytest.mark.slow), pytest.param("ray", marks=needs_ray)]
)
def test_after_ctrl_c_in_a_meta_step_a_resume_ends_as_an_uninterrupted_run(
    workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "run"
    monkeypatch.setenv("HOLD_UNTIL", str(tmp_path))  # it exists: this run holds no episode
    uninterrupted = run_experiment(manifest("local"), tmp_path / "uninterrupted")
    played = [item.episode for meta_step in uninterrupted.history for item in meta_step.trajectories]
    held = sum(map(is_held, played))
    finished = sum(episode.meta_step == 0 or (episode.meta_step == 1 and not is_held(episode)) for episode in played)
    assert held, "the interruption would come too late"
    assert finished > 12

    with start(mark, workers, str(path), "start") as process:
        until(
            lambda: num_logged(path) == finished or process.poll() is not None,
            "every episode that is not held is logged",
        )
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    until(lambda: not left_behind(mark), f"no process is left behind: {left_behind(mark)}", within_s=20)
    with RunFolder.open(path) as run:
        assert run.num_episodes == finished

    mark.touch()
    with start(mark, workers, str(path), "resume") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    with RunFolder.open(path) as run:
        assert run.history == uninterrupted.history
    until(lambda: not left_behind(mark), "no process is left behind", within_s=20)
