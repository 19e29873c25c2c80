"""The page on reflectors names every method, and its example stays short."""

from __future__ import annotations

import re

import pytest

from metagym.reflectors.registry import METHODS
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "reflectors.md"


def test_the_example_of_an_own_method_takes_about_thirty_lines() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(max(blocks, key=len).splitlines()) <= 40


@pytest.mark.parametrize("name", METHODS)
def test_the_page_names_every_method(name: str) -> None:
    assert f"| `{name}` |" in PAGE.read_text(encoding="utf-8")
