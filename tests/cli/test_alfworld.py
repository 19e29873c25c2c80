"""`metagym alfworld ...`"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from metagym.cli import app


@pytest.mark.alfworld
def test_generate_writes_games_in_the_official_layout(tmp_path: Path) -> None:
    pytest.importorskip("alfworld", reason="needs pip install 'metagym[alfworld]'")
    family = "pick_and_place_simple"
    told = CliRunner().invoke(app, ["alfworld", "generate", "-o", str(tmp_path), "--family", family, "--games", "2"])
    assert told.exit_code == 0, told.output
    assert len(list(tmp_path.glob(f"json_2.1.1/train/{family}-*/*/game.tw-pddl"))) == 2


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["alfworld", "generate", "-o", str(tmp_path), "--family", "pick_nothing"])
    assert told.exit_code == 1
    assert not list(tmp_path.iterdir())
