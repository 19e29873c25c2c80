"""Roles by the task's folder, sources by the official folders, families by the task's type."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES, GROUPS, Cluster, cluster_of
from metagym.envs.alfworld.tasks import GeneratedTaskSet, OfficialTaskSet, RolesBy, data_digest, make_task_set
from metagym.errors import ConfigError, TasksExhaustedError, UnknownNameError
from metagym.tasks import ROLES
from tests.envs.alfworld.test_official_games import put_game

NUM_FOLDERS = 60


@pytest.fixture
def catalogue(tmp_path: Path) -> GameCatalogue:
    """A folder with two trials each of 60 tasks in two families, and a few games of other sources."""
    for family in ("pick_and_place_simple", "pick_cool_then_place_in_recep"):
        for room in range(NUM_FOLDERS):
            folder = Cluster(family, "Mug", "Shelf", room).folder
            put_game(tmp_path, f"train/{folder}/trial_1")
            put_game(tmp_path, f"train/{folder}/trial_2")
            if room < 5:
                put_game(tmp_path, f"valid_seen/{folder}/trial_3")
    return GameCatalogue(data="official", data_dir=str(tmp_path))


def test_trials_of_a_task_have_one_role_and_one_digest(catalogue: GameCatalogue) -> None:
    by_folder = defaultdict(set)
    for task in OfficialTaskSet(catalogue):
        if task.id.startswith("train/"):
            by_folder[cluster_of(task.id)].add((task.split, task.digest))
    assert len(by_folder) == 2 * NUM_FOLDERS
    assert all(len(roles) == 1 for roles in by_folder.values())


def test_the_object_is_the_kind_of_a_task(catalogue: GameCatalogue, generated: GameCatalogue) -> None:
    drawn = make_task_set(generated).draw(20, rng=np.random.default_rng(0))
    for task in [*OfficialTaskSet(catalogue), *drawn]:
        assert task.kind == cluster_of(task.id).target


def test_roles_partition_the_source_and_the_other_folders_have_none(catalogue: GameCatalogue) -> None:
    tasks = list(OfficialTaskSet(catalogue, source="train"))
    assert {task.split for task in tasks if task.id.startswith("train/")} == {"train", "validation", "test"}
    assert {task.split for task in tasks if task.id.startswith("valid_seen/")} == {"valid_seen"}
    seen = list(OfficialTaskSet(catalogue, source="valid_seen"))
    assert {task.split for task in seen if task.id.startswith("train/")} == {"train_all"}


def test_generated_games_have_no_official_folder(generated: GameCatalogue) -> None:
    with pytest.raises(ConfigError, match=r"source='valid_unseen' expects the official games, got gen.* ALFWORLD_"):
        make_task_set(generated, source="valid_unseen")
    with pytest.raises(UnknownNameError, match="Unknown source 'nonsense'"):
        make_task_set(generated, source="nonsense")
    assert make_task_set(generated, source="generated").families == FAMILIES


@pytest.mark.parametrize(("roles_by", "part"), [("room", "room"), ("object", "target")])
def test_no_room_or_object_is_in_two_roles_of_any_family_if_so_asked(
    catalogue: GameCatalogue, generated: GameCatalogue, roles_by: RolesBy, part: str
) -> None:
    rng = np.random.default_rng(0)
    tasks = make_task_set(generated, roles_by=roles_by)
    drawn = [tasks.draw(6, rng=rng, families=[family], split=split) for family in FAMILIES for split in ROLES]
    official = [task for task in OfficialTaskSet(catalogue, roles_by=roles_by) if task.split in ROLES]
    held: dict[str, set[object]] = defaultdict(set)
    for task in [*itertools.chain(*drawn), *official]:
        held[task.split].add(getattr(cluster_of(task.id), part))
    assert set(held) == set(ROLES)
    assert not any(held[one] & held[other] for one, other in itertools.combinations(ROLES, 2))


def test_an_unknown_part_for_roles_is_refused(generated: GameCatalogue) -> None:
    with pytest.raises(UnknownNameError, match=r"roles_by"):
        make_task_set(generated, roles_by="rooms")  # type: ignore[arg-type]


def test_held_out_families_give_a_third_each_to_validation_and_test() -> None:
    for family, share in (("pick_and_place_simple", 0.2), ("pick_cool_then_place_in_recep", 0.3)):
        tasks = GeneratedTaskSet()
        rng = np.random.default_rng(0)
        roles = Counter(task.split for task, _ in zip(tasks.candidates(family, rng), range(600), strict=False))
        assert abs(roles["test"] / 600 - share) < 0.06
        assert abs(roles["validation"] / 600 - share) < 0.06


def test_the_role_train_is_not_the_folder_train(catalogue: GameCatalogue) -> None:
    tasks = make_task_set(catalogue)
    drawn = tasks.draw(30, rng=np.random.default_rng(0), split="train")
    assert {task.split for task in drawn} == {"train"}
    whole = tasks.draw(80, rng=np.random.default_rng(0), split="train_all")
    assert {task.split for task in whole} == {"train", "validation", "test"}


def test_a_source_given_as_split_means_the_whole_folder(catalogue: GameCatalogue) -> None:
    tasks = make_task_set(catalogue)
    assert tasks.sources == ("train_all", "valid_seen")
    drawn = tasks.draw(10, rng=np.random.default_rng(0), split="valid_seen")
    assert all(task.id.startswith("valid_seen/") for task in drawn)
    with pytest.raises(TasksExhaustedError):
        tasks.draw(11, rng=np.random.default_rng(0), split="valid_seen")
    with pytest.raises(UnknownNameError, match="Unknown split 'valid_unseen'"):
        tasks.draw(1, rng=np.random.default_rng(0), split="valid_unseen")


def test_an_unknown_source_or_family_is_refused(catalogue: GameCatalogue) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown source 'trian': .* Did you mean 'train'"):
        make_task_set(catalogue, source="trian")
    with pytest.raises(UnknownNameError, match="Unknown family 'pick_two_obj_and_place'"):
        make_task_set(catalogue).expand_families(["pick_two_obj_and_place"])  # no such game is there


def test_the_papers_split_has_short_names() -> None:
    tasks = GeneratedTaskSet()
    trained, held_out = tasks.expand_families(["paper-train"]), tasks.expand_families(["paper-test"])
    assert held_out == ("pick_cool_then_place_in_recep", "pick_two_obj_and_place")
    assert {*trained, *held_out} == set(FAMILIES)
    assert len(trained) == 4
    assert set(GROUPS["cool-and-place"]) <= set(held_out)


def test_generated_tasks_are_drawn_reproducibly_without_end(generated: GameCatalogue) -> None:
    tasks = make_task_set(generated)
    for split in ("train", "validation", "test", "generated"):
        drawn = tasks.draw(60, rng=np.random.default_rng(1), split=split)
        assert drawn == make_task_set(generated).draw(60, rng=np.random.default_rng(1), split=split)
        assert len({task.id for task in drawn}) == 60
        assert {task.family for task in drawn} == set(FAMILIES)
        assert all(task == tasks.find(task.id) and task.source == "generated" for task in drawn)


def test_a_task_is_found_by_its_id_and_an_unplayable_one_says_why(catalogue: GameCatalogue, tmp_path: Path) -> None:
    bad = put_game(tmp_path, f"train/{Cluster(FAMILIES[0], 'Cup', 'Shelf', 1).folder}/trial_1", "spoiled")
    tasks = OfficialTaskSet(catalogue)
    first = next(iter(tasks))
    assert tasks.find(first.id) == first
    name = str(bad.parent.relative_to(tmp_path / "json_2.1.1"))
    with pytest.raises(UnknownNameError, match=r"cannot be played: cannot be read .*Expected one of the 250 that can"):
        tasks.find(name)
    with pytest.raises(UnknownNameError, match="Unknown task id 'nothing'"):
        tasks.find("nothing")


def test_the_data_digest_tells_games_apart(catalogue: GameCatalogue, generated: GameCatalogue, tmp_path: Path) -> None:
    before = data_digest(catalogue)
    put_game(tmp_path, f"train/{Cluster(FAMILIES[0], 'Cup', 'Shelf', 1).folder}/trial_1")
    after = data_digest(GameCatalogue(data="official", data_dir=str(tmp_path)))
    assert len({before, after, data_digest(generated)}) == 3
