"""`metagym extend`, and `metagym estimate --like RUN`, which says what to extend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.cli import console
from tests.cli.conftest import invoke

SMALL = (
    *("evaluate", "MetaGym/Gates-v0", "--actor", "demo", "--families", "law-0007", "--seeds", 2, "--steps", 1),
    *(f"--option={option}" for option in ("num_validation=1", "num_test=3", "test_repetitions=2", "control=none")),
)


def test_an_evaluation_says_what_to_buy_and_is_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "_width", 200)
    invoke(*SMALL, "--out", "out")
    printed = invoke("estimate", "--like", "out/gates-v0-k5/demo")
    assert "the noise of the gain comes from" in printed
    with monkeypatch.context() as narrow:
        narrow.setattr(console, "_width", 80)
        assert "\u2026" not in invoke("estimate", "--like", "out/gates-v0-k5/demo")  # no cell is cut
        assert "\u2026" not in invoke("show", "out/gates-v0-k5/demo", "--details")
    assert "as much again" in printed
    assert "more repetitions" in printed
    assert printed.strip() in invoke("show", "out/gates-v0-k5/demo", "--details")
    assert "noise of the gain: " in invoke("show", "out/gates-v0-k5/demo")
    extended = json.loads(invoke("extend", "out", "--seeds", 3, "--json"))
    assert extended[0]["looks"] == [2, 3]
    assert "looked at after 2, 3 seeds" in invoke("extend", "out", "--seeds", 3)
