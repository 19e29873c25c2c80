"""`metagym envs`, `alfworld generate` and `minihack levels`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.errors import ConfigError
from tests.cli.conftest import Metagym, invoke


def test_envs_lists_the_meta_environments(command: Metagym) -> None:
    done = command("envs")
    assert "MetaGym/Gates-v0" in done.out
    assert "GatesText" not in done.out
    rows = json.loads(command("envs", "--json").out)
    assert {"id": "MetaGym/Gates-v0", "max_episode_steps": 10, "missing": None} in rows


@pytest.mark.alfworld
def test_generate_writes_games_in_the_official_layout(tmp_path: Path) -> None:
    pytest.importorskip("alfworld", reason="needs the extra alfworld")
    family = "pick_and_place_simple"
    assert "2 generated games" in invoke("alfworld", "generate", "-o", tmp_path, "--family", family, "--games", 2)
    assert len(list(tmp_path.glob(f"json_2.1.1/train/{family}-*/*/game.tw-pddl"))) == 2


def test_an_unknown_family_of_games_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pick_nothing"):
        invoke("alfworld", "generate", "-o", tmp_path, "--family", "pick_nothing")
    assert not list(tmp_path.iterdir())


@pytest.mark.minihack
def test_levels_counts_distinct_starts() -> None:
    pytest.importorskip("minihack", reason="needs the extra minihack")
    printed = invoke("minihack", "levels", "MiniHack-LockedDoor-Fixed-v0", "--seeds", 20, "--json")
    assert json.loads(printed) == [
        {"family": "MiniHack-LockedDoor-Fixed-v0", "num_seeds": 20, "num_levels": 1, "estimate": 1}
    ]


@pytest.mark.minihack
def test_an_unknown_family_of_levels_is_an_error_that_says_why() -> None:
    with pytest.raises(ConfigError, match="minigrid"):
        invoke("minihack", "levels", "MiniHack-MultiRoom-N2-v0")
