"""Generated games are written in the official layout, and only if the package alfworld is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.generated import export, games
from metagym.errors import ConfigError, MissingExtraError
from metagym.types import digest
from tests.conftest import run_python


@pytest.mark.alfworld
def test_written_games_are_in_the_official_layout(stock: None, tmp_path: Path) -> None:
    files = export.write_games(tmp_path, families=["pick_two_obj_and_place"], num_games=2, first_seed=5)
    assert len(files) == 2
    folder = files[0].parent
    assert folder.relative_to(tmp_path).parts[:2] == ("json_2.1.1", "train")
    assert sorted(path.name for path in folder.iterdir()) == ["game.tw-pddl", "initial_state.pddl", "traj_data.json"]
    assert json.loads((folder / "traj_data.json").read_bytes())["task_type"] == "pick_two_obj_and_place"
    catalogue = GameCatalogue(data="official", data_dir=str(tmp_path))
    read = [catalogue.game(name) for name in catalogue.listing().playable]
    assert sorted(game.task for game in read) == sorted(
        games.make_scene("pick_two_obj_and_place", seed).sentence for seed in (5, 6)
    )
    before = digest([path.read_text(encoding="utf-8") for path in files])
    export.write_games(tmp_path, families=["pick_two_obj_and_place"], num_games=2, first_seed=5)
    assert digest([path.read_text(encoding="utf-8") for path in files]) == before


def test_writing_needs_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"the package 'alfworld', which is not installed\. Run: pip install"):
        export.write_games(tmp_path / "games")
    assert not (tmp_path / "games").exists()


@pytest.mark.parametrize("options", [{"num_games": 0}, {"first_seed": -1}, {"first_seed": 2**31}])
def test_writing_refuses_numbers_out_of_range(options: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_games must be at least 1"):
        export.write_games(tmp_path, **options)


@pytest.mark.alfworld
def test_the_package_is_found_without_being_imported(stock: None) -> None:
    done = run_python(
        "import sys\nfrom metagym.envs.alfworld.generated.export import find_alfworld\n"
        "print(find_alfworld().name, 'alfworld' in sys.modules)"
    )
    assert done.stdout == "alfworld False\n"
    assert export.find_alfworld().is_dir()
