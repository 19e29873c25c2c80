"""A crash leaves whole files and whole lines."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from metagym.files import whole_lines, write_whole


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "file.txt"
    write_whole(path, "first é")

    def full_disk(self: Path, text: str, encoding: str) -> None:
        self.write_bytes(text.encode()[:3])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full_disk)
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
