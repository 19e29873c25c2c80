"""The examples run offline, each to its end, and print something worth seeing."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest

from metagym.testing import check_text_env
from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {"minihack": "minihack"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word, package in NEEDS.items():
        if word in path.stem and importlib.util.find_spec(package) is None:
            pytest.skip(f"needs pip install 'metagym[{word}]'")
    runpy.run_path(str(path), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) >= 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80


def test_the_example_of_an_own_environment_keeps_the_contract() -> None:
    lake = runpy.run_path(str(ROOT / "examples" / "03_own_environment.py"))
    check_text_env(lake["FrozenLakeMetaEnv"](actor="random").make_inner_env())
