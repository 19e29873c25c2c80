"""Counts ALFWorld's official games, tasks and rooms per family and folder: `python tools/alfworld_census.py`.

It needs official games in ALFWORLD_DATA and prints the Markdown table of docs/alfworld.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES, cluster_of
from metagym.envs.alfworld.tasks import OfficialTaskSet
from metagym.types import Task


class Count(NamedTuple):
    """The number of games, of different tasks and of rooms. Trials of one task are alike, as are tasks in one room."""

    games: int
    tasks: int
    rooms: int

    def __str__(self) -> str:
        return f"{self.games} / {self.tasks} / {self.rooms}"


def count(tasks: Iterable[Task]) -> Count:
    """Return the number of games, and of the different tasks and rooms among them."""
    clusters = [cluster_of(task.id) for task in tasks]
    return Count(len(clusters), len(set(clusters)), len({cluster.room for cluster in clusters}))


def table(task_set: OfficialTaskSet) -> str:
    """Return the counts as a Markdown table: one row per family, one column per source and per role."""
    tasks = list(task_set)
    columns = [*task_set.sources, "train", "validation", "test"]
    lines = [f"| family | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    for family in (*FAMILIES, "all"):
        counts = (
            count(task for task in tasks if family in (task.family, "all") and column in (task.source, task.split))
            for column in columns
        )
        lines.append(f"| `{family}` | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    catalogue = GameCatalogue(data="official")
    print(f"games / tasks / rooms in {catalogue.folder}; the last three columns divide the folder train\n")
    print(table(OfficialTaskSet(catalogue)))
