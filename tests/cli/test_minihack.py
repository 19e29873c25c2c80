"""`metagym minihack ...`"""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from metagym.cli import app

pytestmark = pytest.mark.minihack


def test_levels_counts_distinct_starts() -> None:
    pytest.importorskip("minihack", reason="needs pip install 'metagym[minihack]'")
    told = CliRunner().invoke(app, ["minihack", "levels", "MiniHack-LockedDoor-Fixed-v0", "--seeds", "20", "--json"])
    assert json.loads(told.output) == [
        {"family": "MiniHack-LockedDoor-Fixed-v0", "num_seeds": 20, "num_levels": 1, "estimate": 1}
    ]


def test_an_unknown_family_is_an_error_that_says_why() -> None:
    told = CliRunner().invoke(app, ["minihack", "levels", "MiniHack-MultiRoom-N2-v0"])
    assert told.exit_code == 1
    assert "minigrid" in str(told.exception)
