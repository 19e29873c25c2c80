"""The page on reflectors runs, and names every method."""

from __future__ import annotations

import re
from typing import Any

import pytest

from metagym.reflectors.registry import METHODS
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "reflectors.md"


def test_the_pages_python_blocks_run_one_after_another() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    namespace: dict[str, Any] = {"__name__": "page"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{PAGE.name}, Python block {number}", "exec"), namespace)
    assert len(max(blocks, key=len).splitlines()) <= 40


@pytest.mark.parametrize("name", METHODS)
def test_the_page_names_every_method(name: str) -> None:
    assert f"| `{name}` |" in PAGE.read_text(encoding="utf-8")
