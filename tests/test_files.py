"""A crash leaves whole files and whole lines; a growing file gives each whole line once, whatever the writer does."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym import files
from metagym.files import Tail, whole_lines, write_whole


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "file.txt"
    write_whole(path, "first é")

    def full_disk(self: Path, content: bytes) -> None:
        self.write_text(content.decode()[:3])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, "second")
    assert path.read_bytes().decode() == "first é"


def test_only_whole_lines_are_read_and_a_torn_one_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\n\nb \xe2\x80\xa8\r\ntorn")
    with caplog.at_level(logging.WARNING):
        assert list(whole_lines(path, growing=True)) == [(0, b"a\n"), (2, b"\n"), (3, b"b \xe2\x80\xa8\r\n")]
        assert not caplog.text
        assert list(whole_lines(path, 3)) == [(3, b"b \xe2\x80\xa8\r\n")]
    assert f"The last line of {path} was torn by a crash; it is dropped." in caplog.text


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
        patch.setattr(files, "CHUNK_BYTES", chunk)
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
    monkeypatch.setattr(files, "CHUNK_BYTES", 8)  # less than a look at the old lines would need
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


def test_a_torn_line_that_is_removed_and_written_again_is_read_once(tmp_path: Path) -> None:
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
