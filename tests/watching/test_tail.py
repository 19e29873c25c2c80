"""Following a file: each whole line once, whatever the writer and the disk do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.runs.journal import Journal
from metagym.watching import tail
from metagym.watching.tail import Tail, has_writer, is_alive, seconds_since_written, writer_of


def all_lines(reader: Tail) -> list[bytes]:
    found = reader.lines()
    while reader.is_behind:
        found += reader.lines()
    return found


@given(
    lines=st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"x"))),
    cuts=st.lists(st.integers(1, 12), max_size=20),
    chunk=st.integers(1, 20),
)
def test_each_line_comes_once_and_whole_however_it_is_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cuts: list[int], chunk: int
) -> None:
    path = tmp_path_factory.mktemp("tail") / "log"
    rest = b"".join(line + b"\n" for line in lines)
    found: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch, path.open("wb", buffering=0) as file:
        patch.setattr(tail, "CHUNK_BYTES", chunk)
        reader = Tail(path)
        for cut in [*cuts, len(rest)]:
            file.write(rest[:cut])
            rest = rest[cut:]
            found += all_lines(reader)
    assert found == lines


def test_what_was_read_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a look is that of what was added: the reader begins where it ended."""
    path = tmp_path / "log"
    path.write_bytes(b"first\n" * 1_000)
    reader = Tail(path)
    assert len(all_lines(reader)) == 1_000
    monkeypatch.setattr(tail, "CHUNK_BYTES", 8)  # less than a look at the old lines would need
    with path.open("ab") as file:
        file.write(b"second\n")
    assert reader.lines() == [b"second"]
    assert not reader.is_behind


def test_a_file_that_is_not_there_has_no_lines_until_it_is(tmp_path: Path) -> None:
    reader = Tail(tmp_path / "log")
    assert reader.lines() == []
    reader.path.write_bytes(b"a\n")
    assert reader.lines() == [b"a"]
    reader.path.unlink()
    assert reader.lines() == []


def test_a_torn_line_that_is_cut_off_and_written_anew_comes_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\ntor")
    reader = Tail(path)
    assert reader.lines() == [b"a"]
    path.write_bytes(b"a\n")
    assert reader.lines() == []
    path.write_bytes(b"a\nwhole\n")
    assert reader.lines() == [b"whole"]
    assert not reader.has_restarted


def test_a_file_that_is_cut_before_what_was_read_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\nb\n")
    reader = Tail(path)
    reader.lines()
    path.write_bytes(b"a\n")
    assert reader.lines() == [b"a"]
    assert reader.has_restarted
    reader.lines()
    assert not reader.has_restarted


# The writer -------------------------------------------------------------------------------------------


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
