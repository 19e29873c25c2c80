"""The maintainers' programs for ALFWorld run, on the smallest input that shows something."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.envs.alfworld.conftest import HAS_STOCK
from tests.envs.alfworld.test_official_games import put_game

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import Cluster
from metagym.envs.alfworld.game import NativeEngine
from metagym.envs.alfworld.generated.export import find_alfworld
from metagym.envs.alfworld.generated.games import task_id
from metagym.envs.alfworld.generated.rooms import read_pack
from metagym.envs.alfworld.tasks import OfficialTaskSet
from tools import alfworld_census, alfworld_parity, alfworld_rooms


@pytest.mark.parametrize("name", ["alfworld_parity", "minihack_verify"])
def test_a_program_says_what_it_needs(name: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / f"{name}.py", "--help"], capture_output=True, text=True)
    assert "It needs the extra" in done.stdout, done.stderr


def test_the_census_counts_games_tasks_and_rooms(tmp_path: Path) -> None:
    folder = Cluster("pick_and_place_simple", "Mug", "Desk", 301).folder
    for trial in ("1", "2"):
        put_game(tmp_path, f"valid_seen/{folder}/trial_{trial}")
    table = alfworld_census.table(OfficialTaskSet(GameCatalogue(data="official", data_dir=str(tmp_path))))
    assert "| `pick_and_place_simple` | 2 / 1 / 1 | 0 / 0 / 0 |" in table


def test_games_to_compare_are_of_all_families_in_turn() -> None:
    names = [task_id(family, seed) for family in ("pick_and_place_simple", "look_at_obj_in_light") for seed in (1, 2)]
    chosen = alfworld_parity.pick_games(names, 3, random.Random(0))
    assert [name.split("/")[1].split("-")[0] for name in chosen] == [
        "pick_and_place_simple",
        "look_at_obj_in_light",
        "pick_and_place_simple",
    ]


def test_the_compared_commands_include_the_whole_walkthrough() -> None:
    game = GameCatalogue(data="generated").game(task_id("pick_two_obj_and_place", 0))
    engine, rng, walkthrough = NativeEngine(), random.Random(0), list(game.walkthrough)
    turn, played = engine.start(game), []
    while walkthrough:
        played.append(alfworld_parity.choose(turn, walkthrough, rng))
        turn = engine.step(played[-1])
    assert turn.won
    assert [command for command in played if command in game.walkthrough] == list(game.walkthrough)
    assert len(played) > len(game.walkthrough)


@pytest.mark.alfworld
@pytest.mark.skipif(not HAS_STOCK, reason="needs the extra alfworld")
def test_the_pack_is_what_the_package_ships() -> None:
    pack, again = read_pack(), alfworld_rooms.distill(find_alfworld())
    assert json.loads(json.dumps(again["holds"])) == {key: list(value) for key, value in pack.holds.items()}
    assert [room["number"] for room in again["rooms"]] == [room.number for room in pack.rooms]
    assert again["help_text"] == pack.help_text
