"""A folder of runs: which are in it, whether it is over, how fast it goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from metagym import files
from metagym.runs import LOG, Manifest, RunFolder
from metagym.runs.watching import Watched, Watcher
from metagym.runs.watching.run_watcher import QUIET_S
from metagym.runs.watching.watcher import WINDOW_S, run_folders
from metagym.types import Reflection
from tests.conftest import make_episode, make_meta_step, make_trajectory

MANIFEST = Manifest(env_id="MetaGym/Gates-v0", reflector="fixed", seed=0, num_steps=2)


def make_run(path: Path, *, num_episodes: int = 0) -> RunFolder:
    run = RunFolder.create(path, MANIFEST)
    add_episodes(run, num_episodes)
    return run


def add_episodes(run: RunFolder, num: int) -> None:
    for _ in range(num):
        run.record_episode(make_trajectory(episode=make_episode(repetition=run.num_episodes)))


def test_the_runs_of_a_campaign_are_found_and_nothing_is_looked_for_within_one(tmp_path: Path) -> None:
    for name in ("k3/demo", "k3/no-reflection", "k5/demo", "k3/demo/inner", "too/far/down/demo", ".hidden/demo"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in run_folders(tmp_path)]
    assert found == ["k3/demo", "k3/no-reflection", "k5/demo"]
    assert list(run_folders(tmp_path / "k3" / "demo")) == [tmp_path / "k3" / "demo"]
    assert list(run_folders(tmp_path / "nowhere")) == []


@pytest.mark.skipif(not os.supports_bytes_environ, reason="names of files are text there")
def test_a_name_that_is_no_text_goes_to_json(tmp_path: Path) -> None:
    make_run(tmp_path / os.fsdecode(b"\xff") / "run").close()
    seen = Watcher(tmp_path).look(0.0)
    assert [state.name for state in seen.runs] == ["\ufffd/run"]
    assert Watched.model_validate_json(seen.model_dump_json()) == seen


def test_an_arm_that_comes_later_is_seen(tmp_path: Path) -> None:
    make_run(tmp_path / "k3" / "a").close()
    watcher = Watcher(tmp_path)
    assert [state.name for state in watcher.look(0.0).runs] == ["k3/a"]
    make_run(tmp_path / "k3" / "b", num_episodes=2).close()
    assert [(state.name, state.num_episodes) for state in watcher.look(1.0).runs] == [("k3/a", 0), ("k3/b", 2)]


def test_a_run_is_over_when_it_was_silent_and_has_no_writer(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", num_episodes=1):
        seen = Watcher(tmp_path / "run").look(time.time() + 10 * QUIET_S)
        assert (seen.status, seen.is_over) == ("running", False)
    written = (tmp_path / "run" / LOG).stat().st_mtime
    watcher = Watcher(tmp_path / "run")
    for age, is_over in ((1.0, False), (QUIET_S + 1.0, True)):
        seen = watcher.look(written + age)
        assert (seen.status, seen.is_over) == ("stopped", is_over)


def test_a_campaign_goes_on_between_two_arms_as_long_as_its_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_run(tmp_path / "k3" / "a") as run:
        run.put(0, make_meta_step(index=0))
        run.put(1, make_meta_step(index=1))
        run.put(("", 0), Reflection(prompt="Walk."))
        run.put(("", 1), Reflection(prompt="Run."))
    watcher = Watcher(tmp_path)
    seen = watcher.look(time.time())
    assert (seen.status, seen.is_over) == ("finished", True)  # this process is no campaign's
    monkeypatch.setattr(os, "getpid", lambda: -1)
    seen = watcher.look(time.time())
    assert (seen.status, seen.is_over) == ("running", False)
    assert Watcher(tmp_path / "k3" / "a").look(time.time()).is_over  # a single run tells its end


def test_rates_are_those_of_the_last_minute(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", num_episodes=100) as run:
        watcher = Watcher(tmp_path / "run")
        assert watcher.look(0.0).episodes_per_min is None
        add_episodes(run, 5)
        assert watcher.look(30.0).episodes_per_min == pytest.approx(10.0)
        add_episodes(run, 20)
        assert watcher.look(WINDOW_S + 30.0).episodes_per_min == pytest.approx(20.0)


def test_a_long_log_is_caught_up_with_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run", num_episodes=50).close()
    monkeypatch.setattr(files, "CHUNK_BYTES", 1_000)
    watcher = Watcher(tmp_path / "run")
    counts = [watcher.look(0.0).runs[0].num_episodes]
    while watcher.is_behind:
        counts.append(watcher.look(0.0).runs[0].num_episodes)
    assert counts[0] < 10
    assert counts[-1] == 50
