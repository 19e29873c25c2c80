"""The task sets of ALFWorld: official games listed by folder, generated games drawn by seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES, GROUPS, Cluster, cluster_of
from metagym.envs.alfworld.generated import games
from metagym.envs.alfworld.generated.rooms import problem_text
from metagym.envs.alfworld.official_games import SOURCES
from metagym.errors import ConfigError, UnknownNameError
from metagym.tasks import ListedTaskSet, TaskSet, role_of
from metagym.types import Task, derive_seed, digest

FOLDER_NAMES = {"train": "train_all"}
"""The name of a source as a `split`, if it differs: `train` is a role already."""
HELD_OUT_SHARE = 0.3
"""The share of validation, and of test, in the families that the paper holds out. The official `train` folder has
533 and 813 games of them, so each share has at least 100 games. In the other families the share is 0.2."""


RolesBy = Literal["task", "room", "object"]
"""What all tasks of one role have to themselves: the task's folder, the room, or the object that is named."""
OBJECT_SALT = 4
"""Mixed into the digests of objects: the least number with which each role of each family has two objects or more."""


def role_in(cluster: Cluster, by: RolesBy = "task") -> str:
    """Return the role of a task, decided by its content alone: by its room or object only, if so asked.

    The role of a room, and of an object, is the same in all families.
    """
    if by == "room":
        return role_of(digest(["alfworld room", cluster.room]))
    if by == "object":
        return role_of(digest(["alfworld object", OBJECT_SALT, cluster.target]))
    if cluster.family not in GROUPS["paper-test"]:
        return role_of(cluster.digest)
    position = int(digest(["role", cluster.digest], length=12), 16) / 16**12
    return "test" if position < HELD_OUT_SHARE else "validation" if position < 2 * HELD_OUT_SHARE else "train"


def make_task_set(catalogue: GameCatalogue, *, source: str = "train", roles_by: RolesBy = "task") -> TaskSet:
    """Return the task set of a catalogue's games.

    The roles `train`, `validation` and `test` partition the tasks of the folder `source`; all trials of a task have
    the same role. `split="train_all"`, `"valid_seen"` or `"valid_unseen"` draws from a whole folder instead.
    Generated games have the one source `generated`, and their number has no limit. With `roles_by="room"` no room is
    in two roles, with `"object"` no object of a task.
    """
    if roles_by not in get_args(RolesBy):
        raise UnknownNameError.of("roles_by", roles_by, get_args(RolesBy))
    if source not in (*SOURCES, games.SOURCE):
        raise UnknownNameError.of("source", source, SOURCES)
    if catalogue.folder is None:
        if source not in ("train", games.SOURCE):
            raise ConfigError(
                f"source={source!r} expects the official games, got generated ones, which have no such folder. Set "
                "ALFWORLD_DATA (or data_dir) to the games' folder, or leave source out."
            )
        return GeneratedTaskSet(roles_by=roles_by)
    if source == games.SOURCE:
        expected = f"expected source to be one of {SOURCES} of the official games in {catalogue.folder}"
        raise ConfigError(f"{expected}, got {source!r}. For generated games: data={source!r}.")
    return OfficialTaskSet(catalogue, source=source, roles_by=roles_by)


class OfficialTaskSet(ListedTaskSet):
    """The official games. An id is the path of the game's folder, `source/task/trial`."""

    def __init__(self, catalogue: GameCatalogue, *, source: str = "train", roles_by: RolesBy = "task") -> None:
        listing = catalogue.listing()
        self._problems = listing.problems
        tasks = []
        for task_id in listing.playable:
            origin = task_id.split("/")[0]
            cluster, place = cluster_of(task_id), FOLDER_NAMES.get(origin, origin)
            tasks.append(
                Task(
                    id=task_id,
                    family=cluster.family,
                    # Only the tasks of `source` have roles; the split of any other game is its folder.
                    split=role_in(cluster, roles_by) if origin == source else place,
                    seed=derive_seed("alfworld", task_id),
                    source=place,
                    digest=cluster.digest,
                    kind=cluster.target,
                )
            )
        families = {task.family for task in tasks}
        groups = {name: members for name, members in GROUPS.items() if families.issuperset(members)}
        super().__init__(tasks, groups=groups)

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def find(self, task_id: str) -> Task:
        """Return the task of that id."""
        if task_id in self._problems:
            raise UnknownNameError(
                f"The game {task_id!r} cannot be played: {self._problems[task_id]}. Expected one of the "
                f"{len(self)} that can."
            )
        return super().find(task_id)


class GeneratedTaskSet(TaskSet):
    """The generated games. An id is `generated/task/generated_SEED`."""

    names_kinds = True

    def __init__(self, *, roles_by: RolesBy = "task") -> None:
        self._roles_by: RolesBy = roles_by
        super().__init__(FAMILIES, sources=(games.SOURCE,), groups=dict(GROUPS))

    def candidates(self, family: str, rng: np.random.Generator) -> Iterator[Task]:
        """Yield tasks of new seeds, without end."""
        return (self._task(family, int(rng.integers(games.NUM_SEEDS))) for _ in itertools.count())

    def find(self, task_id: str) -> Task:
        """Return the task of that id."""
        cluster, seed = games.read_task_id(task_id)
        return self._task(cluster.family, seed)

    def _task(self, family: str, seed: int) -> Task:
        name, cluster = games.task_id(family, seed), games.cluster_of_seed(family, seed)
        split, content = role_in(cluster, self._roles_by), cluster.digest
        place = games.SOURCE
        return Task(id=name, family=family, split=split, seed=seed, source=place, digest=content, kind=cluster.target)


def data_digest(catalogue: GameCatalogue) -> str:
    """Return a digest of the official games, or of the generator and its rooms."""
    if catalogue.folder is None:
        samples = [problem_text(games.make_scene(family, 0), 0) for family in FAMILIES]
        return digest(["generated", games.GENERATOR_VERSION, samples])
    return digest(["official", catalogue.listing().digest])
