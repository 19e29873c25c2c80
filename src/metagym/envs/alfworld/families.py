"""The six families of tasks, and the family, objects and room in the name of a task's folder."""

from __future__ import annotations

import re
from typing import NamedTuple

from metagym.errors import UnknownNameError
from metagym.types import digest

FAMILIES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""ALFWorld's task types, in its order."""

GROUPS = {
    "pick-and-place": FAMILIES[0:1],
    "examine-in-light": FAMILIES[1:2],
    "clean-and-place": FAMILIES[2:3],
    "heat-and-place": FAMILIES[3:4],
    "cool-and-place": FAMILIES[4:5],
    "pick-two": FAMILIES[5:6],
    # The split of arXiv 2605.20477: a reflector is trained on the first four families and tested on the other two.
    "paper-train": FAMILIES[0:4],
    "paper-test": FAMILIES[4:6],
}
"""Shorthand names."""

_FOLDER = re.compile(rf"({'|'.join(FAMILIES)})-(\w+)-(\w+)-(\w+)-(\d+)")


class Cluster(NamedTuple):
    """The common part of a task's trials. Cluster intervals over tasks by it, and by the room."""

    family: str
    target: str
    """The type of the task's object."""
    place: str
    """The type of the receptacle or of the lamp."""
    room: int

    @property
    def folder(self) -> str:
        """The name of the task's folder among the official games."""
        return f"{self.family}-{self.target}-None-{self.place}-{self.room}"

    @property
    def digest(self) -> str:
        """A digest that is equal for all trials of the task, in all folders."""
        return digest(["alfworld task", *self])


def cluster_of(task_id: str) -> Cluster:
    """Return the cluster that a task's id names.

    >>> cluster_of("valid_seen/pick_two_obj_and_place-Newspaper-None-Drawer-224/trial_T20190911_101248_326533")
    Cluster(family='pick_two_obj_and_place', target='Newspaper', place='Drawer', room=224)
    """
    for part in task_id.split("/"):
        if found := _FOLDER.fullmatch(part):
            return Cluster(found[1], found[2], found[4], int(found[5]))
    raise UnknownNameError(
        f"Unknown task id {task_id!r}: expected SOURCE/TYPE-OBJECT-None-RECEPTACLE-ROOM/TRIAL with a type "
        f"of {', '.join(FAMILIES)}."
    )
