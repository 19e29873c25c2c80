"""Listing official games: fast the second time, honest about what cannot be played, never a fall-back."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.env import ALFWorldTextEnv
from metagym.envs.alfworld.game import GameFileError
from metagym.envs.alfworld.official_games import INDEX_FILE, find_games_folder, list_games
from metagym.errors import ConfigError, UnknownNameError

MUG = "pick_and_place_simple-Mug-None-Desk-301"
CUP = "pick_cool_then_place_in_recep-Cup-None-Shelf-10"
GOOD = {"pddl_domain": "(d)", "grammar": "g", "pddl_problem": "(p)", "solvable": True, "walkthrough": []}


def put_game(root: Path, name: str, content: object = GOOD) -> Path:
    path = root / "json_2.1.1" / name / "game.tw-pddl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "alfworld"
    for name in (f"train/{MUG}/trial_2", f"train/{MUG}/trial_1", f"valid_seen/{CUP}/trial_1"):
        put_game(folder, name)
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o755)


@pytest.fixture
def games(root: Path) -> Path:
    return root / "json_2.1.1"


def test_games_are_listed_sorted_by_relative_path(games: Path) -> None:
    assert list_games(games).playable == (
        f"train/{MUG}/trial_1",
        f"train/{MUG}/trial_2",
        f"valid_seen/{CUP}/trial_1",
    )


def test_the_listing_leaves_out_what_stock_alfworld_leaves_out(
    root: Path, games: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_game(root, "train/pick_and_place_with_movable_recep-Mug-Bowl-Desk-301/trial_1")
    put_game(root, "train/pick_and_place_simple-AppleSliced-None-Desk-301/trial_1")
    put_game(root, f"train/{CUP}/trial_1", {**GOOD, "solvable": False})
    put_game(root, f"train/{CUP}/trial_2", {key: GOOD[key] for key in GOOD if key != "solvable"})
    (games / "train" / CUP / "trial_3").mkdir()
    listing = list_games(games)
    assert len(listing.playable) == 3
    assert set(listing.problems) == {f"train/{CUP}/trial_1", f"train/{CUP}/trial_2"}
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (f"train/{CUP}/trial_9", '{"pddl_domain": "(d', "cannot be read"),
        (f"train/{CUP}/trial_9", "[]", "expected a JSON object, got list"),
        (f"train/{CUP}/trial_9", {"solvable": True}, "it lacks pddl_domain, grammar, pddl_problem"),
        ("train/sing_a_song-Mug-None-Desk-301/trial_9", GOOD, "names no known task"),
    ],
)
def test_a_bad_game_is_named_and_the_others_are_listed(
    root: Path, games: Path, name: str, content: object, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_game(root, name, content)
    catalogue = GameCatalogue(data="official", data_dir=str(root))
    with caplog.at_level(logging.WARNING):
        listing = catalogue.listing()
    assert len(listing.playable) == 3
    assert problem in listing.problems[name]
    (message,) = caplog.messages
    assert name in message
    assert problem in message


def test_the_second_listing_reads_no_game(games: Path) -> None:
    first = list_games(games)
    path = games / "train" / MUG / "trial_1" / "game.tw-pddl"
    status = path.stat()
    path.write_text("x" * status.st_size, encoding="utf-8")  # spoiled, but looks unchanged
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list_games(games) == first
    (games / INDEX_FILE).unlink()
    assert len(list_games(games).playable) == 2


def test_the_index_follows_the_games(root: Path, games: Path) -> None:
    list_games(games)
    put_game(root, f"valid_unseen/{CUP}/trial_1")
    assert len(list_games(games).playable) == 4
    path = put_game(root, f"valid_unseen/{CUP}/trial_1", "spoiled")
    assert len(list_games(games).playable) == 3
    path.unlink()
    assert list_games(games).problems == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 0, "games": {}}', '{"version": 1, "games": 3}'])
def test_a_damaged_index_is_written_again(games: Path, content: str) -> None:
    (games / INDEX_FILE).write_text(content, encoding="utf-8")
    assert len(list_games(games).playable) == 3
    assert len(json.loads((games / INDEX_FILE).read_bytes())["games"]) == 3
    assert [path.name for path in games.iterdir() if "index" in path.name] == [INDEX_FILE]  # nothing half written


def test_read_only_games_are_left_alone_and_indexed_elsewhere(games: Path) -> None:
    games.chmod(0o555)
    first = list_games(games)
    assert not (games / INDEX_FILE).exists()
    (index,) = Path(tempfile.gettempdir()).glob("metagym-*.json")
    assert len(json.loads(index.read_bytes())["games"]) == 3
    assert list_games(games) == first


def test_games_are_listed_even_if_no_index_can_be_written(games: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    assert len(list_games(games).playable) == 3


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "empty"])
@pytest.mark.parametrize("data", [None, "official"])
def test_a_wrong_path_is_an_error(make: object, data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "games")  # type: ignore[operator]
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "games"))
    with pytest.raises(ConfigError, match=r"ALFWORLD_DATA names '.*games', which .*alfworld-download"):
        GameCatalogue(data=data)
    with pytest.raises(ConfigError, match="data_dir names 'nowhere', which does not exist"):
        ALFWorldTextEnv(data=data, data_dir="nowhere")
    assert GameCatalogue(data="generated").data_name == "generated"


def test_a_half_downloaded_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "json_2.1.1" / "train" / MUG / "trial_1").mkdir(parents=True)
    catalogue = GameCatalogue(data="official", data_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=r"holds no game that can be played \(there is no game.tw-pddl in them\)"):
        catalogue.listing()


def test_official_games_without_a_folder_are_an_error() -> None:
    with pytest.raises(ConfigError, match="data='official' expects the games' folder in ALFWORLD_DATA"):
        GameCatalogue(data="official")
    with pytest.raises(ConfigError, match="data must be 'official', 'generated' or None, got 'offical'"):
        GameCatalogue(data="offical")  # type: ignore[arg-type]


def test_without_the_variable_games_are_generated_and_with_it_official(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert GameCatalogue().data_name == "generated"
    monkeypatch.setenv("ALFWORLD_DATA", str(root))
    assert GameCatalogue().data_name == "official"
    monkeypatch.setenv("ALFWORLD_DATA", str(root / "json_2.1.1"))  # the games' own folder does as well
    assert GameCatalogue().data_name == "official"


def test_the_empty_folder_that_importing_alfworld_makes_counts_as_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("~/.cache/alfworld").expanduser()
    monkeypatch.setenv("ALFWORLD_DATA", str(folder))
    assert find_games_folder() is None
    folder.mkdir(parents=True)
    assert GameCatalogue().data_name == "generated"


def test_nothing_is_created_in_the_home(root: Path) -> None:
    GameCatalogue(data="official", data_dir=str(root)).listing()
    GameCatalogue(data="generated")
    assert not Path("~").expanduser().exists()


@pytest.mark.parametrize(
    "name", [f"train/{MUG}/trial_7", "train", "", "../../etc", f"generated/{MUG}/generated_000000"]
)
def test_an_unknown_official_id_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UnknownNameError, match="Unknown task id"):
        GameCatalogue(data="official", data_dir=str(root)).game(name)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({**GOOD, "solvable": False}, "holds no playable game: it is marked unsolvable"),
        ('{"pddl_domain": "(d', r"cannot be read: .* Download it again, or remove it"),
        (GOOD, "cannot be played natively"),
    ],
)
def test_starting_an_unplayable_game_says_why(root: Path, content: object, problem: str) -> None:
    put_game(root, f"train/{CUP}/trial_1", content)
    env = ALFWorldTextEnv(data="official", data_dir=str(root))
    with pytest.raises(GameFileError, match=problem):
        env.reset(options={"task_id": f"train/{CUP}/trial_1"})


def test_a_game_whose_file_is_gone_says_so(root: Path) -> None:
    (root / "json_2.1.1" / "train" / CUP / "trial_1").mkdir(parents=True)
    with pytest.raises(GameFileError, match="found no file"):
        GameCatalogue(data="official", data_dir=str(root)).game(f"train/{CUP}/trial_1")
