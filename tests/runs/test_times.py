"""The times of a run: kept beside its records, for each process that wrote to it, and never compared."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from metagym.budget import Spending
from metagym.runs import LOG, RunFolder
from metagym.runs.summary import RunSummary, summary_of
from metagym.runs.times import TIMES, read_times
from tests.conftest import make_trajectory
from tests.runs.conftest import manifest

BEGUN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that is set by hand."""

    now = BEGUN

    def __call__(self) -> datetime:
        return self.now


def summary(path: Path) -> RunSummary:
    return summary_of(path, manifest(), Spending())


def write(path: Path, clock: Clock, *, minutes: int, is_closed: bool = True) -> None:
    """Write a line to a run, for some minutes of the clock."""
    opened = RunFolder.open(path, writing=True, clock=clock) if path.exists() else None
    run = opened or RunFolder.create(path, manifest(), clock=clock)
    run.record_episode(make_trajectory())
    clock.now += timedelta(minutes=minutes)
    if is_closed:
        run.close()
    else:
        run._journal.close()  # as after `kill -9`
    clock.now += timedelta(hours=1)


def test_a_copied_folder_keeps_its_times(tmp_path: Path) -> None:
    write(tmp_path / "run", Clock(), minutes=7)
    shutil.copytree(tmp_path / "run", tmp_path / "copy", copy_function=shutil.copyfile)
    assert summary(tmp_path / "copy") == summary(tmp_path / "run")
    assert summary(tmp_path / "copy").duration_s == 7 * 60
    assert datetime.fromisoformat(summary(tmp_path / "copy").started) == BEGUN


def test_pauses_between_two_processes_do_not_count(tmp_path: Path) -> None:
    clock = Clock()
    write(tmp_path / "run", clock, minutes=2)
    write(tmp_path / "run", clock, minutes=3)
    found = summary(tmp_path / "run")
    assert found.duration_s == 5 * 60
    assert datetime.fromisoformat(found.ended) - BEGUN == timedelta(hours=1, minutes=5)


def test_a_process_that_adds_nothing_leaves_the_times_as_they_are(tmp_path: Path) -> None:
    clock = Clock()
    write(tmp_path / "run", clock, minutes=2)
    before = (tmp_path / "run" / TIMES).read_bytes()
    clock.now += timedelta(days=1)
    RunFolder.open(tmp_path / "run", writing=True, clock=clock).close()
    assert (tmp_path / "run" / TIMES).read_bytes() == before


def test_after_a_crash_the_last_line_is_the_end(tmp_path: Path) -> None:
    clock = Clock()
    write(tmp_path / "run", clock, minutes=9, is_closed=False)
    crashed = (BEGUN + timedelta(minutes=4)).timestamp()
    os.utime(tmp_path / "run" / LOG, (crashed, crashed))
    assert (summary(tmp_path / "run").has_ended, "last line" in summary(tmp_path / "run").when) == (False, True)
    write(tmp_path / "run", clock, minutes=1)
    first, second = read_times(tmp_path / "run", last_change=0).sessions
    assert first.ended == BEGUN + timedelta(minutes=4)
    assert second.ended is not None
    assert "ended" in summary(tmp_path / "run").when
    assert second.ended - second.started == timedelta(minutes=1)


def test_times_that_cannot_be_read_are_those_of_the_files(tmp_path: Path) -> None:
    write(tmp_path / "run", Clock(), minutes=7)
    (tmp_path / "run" / TIMES).write_text("torn")
    assert summary(tmp_path / "run").duration_s < 60


def test_a_model_on_this_machine_is_named_by_its_file(tmp_path: Path) -> None:
    model = {"model": {"model": "smollm2-135m", "sha256": "b179"}}
    local = {"env_options": {"actor": {"model": "local"}}, "reflector": {"model": "local", "method": "ict"}}
    write(tmp_path / "run", Clock(), minutes=1)
    found = summary_of(tmp_path / "run", manifest(**local, measurement={"actor": model}, arm=model), Spending())
    assert (found.actor, found.reflector) == ("local (smollm2-135m)", "ict: local (smollm2-135m)")
