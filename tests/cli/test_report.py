"""`metagym report`, through the front door."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from metagym import cli


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, ["demo", "--steps", "2", "--out", "run"])
    assert result.exit_code == 0
    return tmp_path


def invoke(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["report", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_report_writes_one_file_and_says_what_is_in_it(folder: Path) -> None:
    assert "seen.html: 1 run, 10 episodes, 0.1 MB" in invoke("run", "-o", "seen.html")
    assert (folder / "seen.html").read_text().startswith("<!doctype html>")
    assert "4 of 10 episodes (--episodes N takes in more)" in invoke("run", "--episodes", "4")
    assert (folder / "report.html").exists()


def test_a_run_that_cannot_be_read_is_noted_and_no_error(folder: Path) -> None:
    (folder / "run" / "manifest.json").write_text('{"schema_version": 0}')
    assert "Note: run: run has schema version 0, this metagym reads 1." in invoke("run")
