"""Hidden characters have a visible sign, in Python and in the page alike."""

from __future__ import annotations

import re

import pytest

from metagym.report.visible import visible
from tests.conftest import SRC


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext, naïve, 漢字, 🙂", "plain\n\ttext, naïve, 漢字, 🙂"),
        ("a\x00b\x1b[31mc\x7f", "a␀b␛[31mc␡"),
        ("pay \u202eelif.exe\u2069", "pay [U+202E]elif.exe[U+2069]"),
        ("a\u200bb\ufeff\u2028c\r\n", "a[U+200B]b[U+FEFF][U+2028]c␍\n"),
    ],
)
def test_what_cannot_be_seen_gets_a_sign(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_the_page_knows_the_same_characters() -> None:
    script = (SRC / "report" / "static" / "script" / "elements.js").read_text(encoding="utf-8")
    found = re.search(r"HIDDEN = /\[(.*)\]/g", script)
    assert found is not None
    in_page = re.compile(f"[{found[1]}]")
    differ = [code for code in range(0x10000) if (visible(chr(code)) != chr(code)) != bool(in_page.match(chr(code)))]
    assert differ == []
