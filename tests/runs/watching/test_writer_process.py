"""The process that writes to a run folder is seen from outside, without a lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metagym.runs.journal import Journal
from metagym.runs.watching.writer_process import has_writer, is_alive, seconds_since_written, writer_of


@pytest.mark.skipif(sys.platform == "win32", reason="no process is seen there")
def test_a_writer_is_seen_while_it_holds_the_lock_and_not_after(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert (writer_of(lock), has_writer(lock)) == (None, False)
    journal = Journal(tmp_path / "log")
    journal.lock()
    assert (writer_of(lock), has_writer(lock)) == (os.getpid(), True)
    second = Journal(tmp_path / "log")
    journal.close()
    second.lock()  # looking took no lock
    second.close()
    if Path("/proc/self/fd").exists():
        assert not has_writer(lock)


@pytest.mark.skipif(sys.platform == "win32", reason="no process is seen there")
def test_a_process_that_ended_is_no_writer(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / "lock").write_bytes(done.stdout)
    assert not has_writer(tmp_path / "lock")


@pytest.mark.parametrize("content", [b"", b"nobody", b"-1", b"0", b"9" * 30, b"\xff\x00"])
def test_a_lock_that_names_no_process_has_no_writer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert not has_writer(tmp_path / "lock")


def test_a_process_of_somebody_else_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(1) is (sys.platform != "win32")


def test_ages_are_never_negative(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert seconds_since_written(path, 0.0) is None
    path.touch()
    os.utime(path, (100.0, 100.0))
    assert seconds_since_written(path, 112.0) == 12.0
    assert seconds_since_written(path, 90.0) == 0.0  # another machine's clock
