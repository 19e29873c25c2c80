"""Generated games come from the seed alone, can be won, and are never mistaken for official ones."""

from __future__ import annotations

import pytest

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES, cluster_of
from metagym.envs.alfworld.game import NativeEngine
from metagym.envs.alfworld.generated import games
from metagym.envs.alfworld.generated.rooms import problem_text, type_of
from metagym.errors import UnknownNameError
from tests.conftest import run_python

NUM_SEEDS = 15
EVERY_PROBLEM = """
from metagym.envs.alfworld.generated import games
from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.generated.rooms import problem_text, type_of
from metagym.types import digest
problems = [problem_text(games.make_scene(family, seed), seed) for family in FAMILIES for seed in range(15)]
walkthroughs = [games.make_game(games.task_id(family, 0)).walkthrough for family in FAMILIES]
print(digest([problems, walkthroughs]))
"""
# If this digest changes, seeds give other games: raise GENERATOR_VERSION, and record the golden traces again.
KNOWN_DIGEST = "9b504ad1c6f25c48"


def test_a_seed_gives_the_same_bytes_in_any_process() -> None:
    for hash_seed in ("1", "2"):
        done = run_python(EVERY_PROBLEM, env={"PYTHONHASHSEED": hash_seed})
        assert done.stderr == ""
        assert done.stdout.strip() == KNOWN_DIGEST


@pytest.mark.parametrize("family", FAMILIES)
def test_every_game_is_won_by_its_walkthrough(family: str, generated: GameCatalogue) -> None:
    for seed in range(NUM_SEEDS):
        game, engine = generated.game(games.task_id(family, seed)), NativeEngine()
        assert 3 <= len(game.walkthrough) <= 14
        turn = engine.start(game)
        for command in game.walkthrough:
            assert command in turn.commands
            turn = engine.step(command)
        assert turn.won


def test_games_of_a_family_are_different_tasks() -> None:
    for family in FAMILIES:
        clusters = {games.cluster_of_seed(family, seed) for seed in range(200)}
        assert len(clusters) >= 120
        assert len({problem_text(games.make_scene(family, seed), seed) for seed in range(20)}) == 20


def test_an_id_says_generated_and_contains_family_and_seed() -> None:
    name = games.task_id("pick_cool_then_place_in_recep", 7)
    assert name.startswith("generated/pick_cool_then_place_in_recep-")
    assert name.endswith("/generated_000007")
    assert games.read_task_id(name) == (cluster_of(name), 7)


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
        games.read_task_id(name)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'pick_two_obj_and_place'"):
        games.cluster_of_seed("pick_two_objects_and_place", 0)


def test_the_target_never_starts_at_its_goal() -> None:
    for family in FAMILIES:
        for seed in range(NUM_SEEDS):
            scene = games.make_scene(family, seed)
            homes = [home for thing, home in scene.things.items() if thing.startswith(f"{scene.cluster.target}|")]
            assert homes
            assert all(type_of(home) != scene.cluster.place for home in homes)
