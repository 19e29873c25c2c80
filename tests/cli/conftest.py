"""The command line as a test calls it: `command` as a user's shell does, `invoke` with errors as exceptions."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from metagym import cli
from tests.training.conftest import pytest_collection_modifyitems, tiny_start

__all__ = ["pytest_collection_modifyitems", "tiny_start"]  # tests of `metagym train` need the extra and a tiny model


class Done(NamedTuple):
    """What a command left: its exit code and its two streams."""

    code: int
    out: str
    err: str


Metagym = Callable[..., Done]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Metagym:
    """Run `metagym ...` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for terminal in (cli.console, cli.errors):  # they read COLUMNS once, when they are made
        monkeypatch.setattr(terminal, "_width", 200)

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["metagym", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 0
        return Done(code, *capsys.readouterr())

    return call


def invoke(*arguments: object) -> str:
    """Run a command and return what it printed with single spaces, JSON without messages; raise what it raised."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return re.sub(r"\s+", " ", result.stdout if "--json" in arguments else result.output)


def rewards_in(text: str) -> list[float]:
    """Return the rewards in a printed history."""
    return [float(found) for found in re.findall(r"^│\s*\d+\s*│ (-?\d\.\d\d)\s*│", text, re.MULTILINE)]
