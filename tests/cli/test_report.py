"""`metagym report`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import invoke


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    monkeypatch.chdir(tmp_path)
    invoke("demo", "--steps", 2, "--out", "run")
    return tmp_path


def test_report_writes_one_file_and_prints_its_contents(folder: Path) -> None:
    assert "seen.html: 1 run, 10 episodes, 0.1 MB" in invoke("report", "run", "-o", "seen.html")
    assert (folder / "seen.html").read_text().startswith("<!doctype html>")
    assert "4 of 10 episodes (--episodes N takes in more)" in invoke("report", "run", "--episodes", "4")
    assert (folder / "report.html").exists()


def test_a_run_that_cannot_be_read_is_a_note_and_not_an_error(folder: Path) -> None:
    (folder / "run" / "manifest.json").write_text('{"schema_version": 0}')
    assert "Note: run: run has schema version 0, this metagym reads 1." in invoke("report", "run")
