"""Generated games: from the seed alone, solvable, and never mistaken for official ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.envs.alfworld import export, generate
from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES, Cluster, cluster_of
from metagym.envs.alfworld.problem import problem_text, type_of
from metagym.envs.alfworld.rooms import distill, find_alfworld, read_pack
from metagym.errors import ConfigError, MissingExtraError, UnknownNameError
from metagym.seeding import digest
from tests.conftest import run_python

NUM_SEEDS = 15
EVERY_PROBLEM = """
from metagym.envs.alfworld import generate
from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.problem import problem_text, type_of
from metagym.seeding import digest
problems = [problem_text(generate.make_scene(family, seed), seed) for family in FAMILIES for seed in range(15)]
walkthroughs = [generate.as_game(generate.task_id(family, 0)).walkthrough for family in FAMILIES]
print(digest([problems, walkthroughs]))
"""
# A change here means that seeds give other games than before: then raise GENERATOR_VERSION, and record
# the golden traces anew.
KNOWN_DIGEST = "9b504ad1c6f25c48"


def test_a_seed_gives_the_same_bytes_in_any_process() -> None:
    for hash_seed in ("1", "2"):
        done = run_python(EVERY_PROBLEM, env={"PYTHONHASHSEED": hash_seed})
        assert done.stderr == ""
        assert done.stdout.strip() == KNOWN_DIGEST


@pytest.mark.parametrize("family", FAMILIES)
def test_every_game_is_won_by_its_walkthrough(family: str, generated: GameCatalogue) -> None:
    for seed in range(NUM_SEEDS):
        game = generated.game(generate.task_id(family, seed))  # plays the walkthrough, and fails where it does not win
        assert 3 <= len(game.walkthrough) <= 14


def test_games_of_a_family_are_different_tasks() -> None:
    for family in FAMILIES:
        clusters = {generate.cluster_of_seed(family, seed) for seed in range(200)}
        assert len(clusters) >= 120
        assert len({problem_text(generate.make_scene(family, seed), seed) for seed in range(20)}) == 20


def test_an_id_says_generated_and_holds_all_that_makes_the_game() -> None:
    name = generate.task_id("pick_cool_then_place_in_recep", 7)
    assert name.startswith("generated/pick_cool_then_place_in_recep-")
    assert name.endswith("/generated_000007")
    assert generate.read_task_id(name) == (cluster_of(name), 7)


@pytest.mark.parametrize(
    "name",
    [
        "generated/pick_cool_then_place_in_recep-Mug-None-Shelf-1/generated_000000",  # another task than the seed's
        "generated/pick_cool_then_place_in_recep-Mug-None-Shelf-1/generated_x",
        "generated/fly_to_the_moon-Mug-None-Shelf-1/generated_000000",
        "valid_seen/pick_cool_then_place_in_recep-Mug-None-Shelf-1/trial_T2019",
        "",
    ],
)
def test_an_id_that_no_seed_gives_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="Unknown task id"):
        generate.read_task_id(name)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'pick_two_obj_and_place'"):
        generate.cluster_of_seed("pick_two_objects_and_place", 0)


def test_the_pack_is_small_and_names_its_origin() -> None:
    pack = Path(generate.__file__).parent / "pack"
    assert (pack / "rooms.json.gz").stat().st_size < 1_000_000
    notice = (pack / "NOTICE").read_text(encoding="utf-8")
    assert "Copyright (c) 2020 Mohit Shridhar" in notice
    assert "MIT License" in notice
    assert len(read_pack().rooms) == 120


def test_the_target_never_begins_where_it_shall_end() -> None:
    for family in FAMILIES:
        for seed in range(NUM_SEEDS):
            scene = generate.make_scene(family, seed)
            homes = [home for thing, home in scene.things.items() if thing.startswith(f"{scene.cluster.target}|")]
            assert homes
            assert all(type_of(home) != scene.cluster.place for home in homes)


@pytest.mark.alfworld
def test_the_pack_is_what_the_package_ships(stock: None) -> None:
    pack, again = read_pack(), distill(find_alfworld())
    assert json.loads(json.dumps(again["holds"])) == {key: list(value) for key, value in pack.holds.items()}
    assert [room["number"] for room in again["rooms"]] == [room.number for room in pack.rooms]
    assert again["help_text"] == pack.help_text


@pytest.mark.alfworld
def test_written_games_are_in_the_official_layout(stock: None, tmp_path: Path) -> None:
    files = export.write(tmp_path, families=["pick_two_obj_and_place"], num_games=2, first_seed=5)
    assert len(files) == 2
    folder = files[0].parent
    assert folder.relative_to(tmp_path).parts[:2] == ("json_2.1.1", "train")
    assert sorted(path.name for path in folder.iterdir()) == ["game.tw-pddl", "initial_state.pddl", "traj_data.json"]
    assert json.loads((folder / "traj_data.json").read_bytes())["task_type"] == "pick_two_obj_and_place"
    catalogue = GameCatalogue(data="official", data_dir=str(tmp_path))
    read = [catalogue.game(name) for name in catalogue.listing().playable]
    assert sorted(game.task for game in read) == sorted(
        generate.make_scene("pick_two_obj_and_place", seed).sentence for seed in (5, 6)
    )
    before = digest([path.read_text(encoding="utf-8") for path in files])
    export.write(tmp_path, families=["pick_two_obj_and_place"], num_games=2, first_seed=5)
    assert digest([path.read_text(encoding="utf-8") for path in files]) == before


def test_writing_needs_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'metagym\[alfworld\]'"):
        export.write(tmp_path / "games")
    assert not (tmp_path / "games").exists()


@pytest.mark.parametrize("options", [{"num_games": 0}, {"first_seed": -1}, {"first_seed": 2**31}])
def test_writing_refuses_numbers_out_of_range(options: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_games must be at least 1"):
        export.write(tmp_path, **options)


def test_a_cluster_reads_back_from_the_folder() -> None:
    cluster = Cluster("look_at_obj_in_light", "Mug", "DeskLamp", 301)
    assert cluster_of(cluster.folder) == cluster
