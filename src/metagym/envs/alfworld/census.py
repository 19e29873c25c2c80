"""Counts games, tasks and rooms per family and source: `python -m metagym.envs.alfworld.census`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES, cluster_of
from metagym.envs.alfworld.tasks import OfficialTaskSet
from metagym.types import Task


class Count(NamedTuple):
    """How much there really is: games are many, but trials of one task are alike, and so are tasks of a room."""

    games: int
    tasks: int
    rooms: int

    def __str__(self) -> str:
        return f"{self.games} / {self.tasks} / {self.rooms}"


def count(tasks: Iterable[Task]) -> Count:
    """Count the games, and the different tasks and rooms among them."""
    clusters = [cluster_of(task.id) for task in tasks]
    return Count(len(clusters), len(set(clusters)), len({cluster.room for cluster in clusters}))


def table(task_set: OfficialTaskSet) -> str:
    """Return the counts as a Markdown table: a row a family, a column a source, and one a role."""
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


def main() -> int:
    """Print the table of the official games at hand."""
    catalogue = GameCatalogue(data="official")
    print(f"games / tasks / rooms in {catalogue.folder}; the last three columns divide the folder train\n")
    print(table(OfficialTaskSet(catalogue)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
