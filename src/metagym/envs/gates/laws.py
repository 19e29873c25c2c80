"""The laws of Gates (which way opens which gate, and which one backfires), the level of a seed, and the task set.

For each of four gates, a law says which of six ways opens it and which other way backfires. There are 6^4 = 1,296
laws, one per family. They conflict: a way that opens a gate in one family fails in five of six others. Over all laws
each way is equally good, so no constant prompt is better than the default prompt.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import NamedTuple

from metagym.errors import UnknownNameError
from metagym.seeding import derive_seed, digest
from metagym.tasks import SeededTaskSet

GATES = ("oak", "iron", "stone", "glass")
WAYS = ("knock", "push", "pull", "sing", "whistle", "wait")
NUM_LAWS = len(WAYS) ** len(GATES)
FAMILIES = tuple(f"law-{index:04d}" for index in range(NUM_LAWS))

_GATE_ORDERS = tuple(itertools.permutations(GATES))
_WAY_ORDERS = tuple(itertools.permutations(WAYS))


class Law(NamedTuple):
    """The way that opens each gate, and the way that backfires there, in the order of `GATES`."""

    opens: tuple[str, ...]
    backfires: tuple[str, ...]


class Level(NamedTuple):
    """The order of the gates on the road, and the order of the ways that are listed at each gate."""

    gates: tuple[str, ...]
    ways: tuple[tuple[str, ...], ...]


@cache
def law_of(family: str) -> Law:
    """Return the law of a family.

    Raises:
        UnknownNameError: there is no such family.
    """
    if family not in FAMILIES:
        raise UnknownNameError.of("family", family, FAMILIES)
    number = int(family.removeprefix("law-"))
    opens = tuple(WAYS[number // len(WAYS) ** place % len(WAYS)] for place in range(len(GATES)))
    # Drawn for each law separately: over all laws, the way that backfires says nothing about the way that opens.
    backfires = tuple(
        [way for way in WAYS if way != right][derive_seed("backfires", number, gate) % (len(WAYS) - 1)]
        for gate, right in zip(GATES, opens, strict=True)
    )
    return Law(opens, backfires)


def level_of(seed: int) -> Level:
    """Return the level of a seed: one of 24 orders of the gates, and one of 720 orders of the ways at each gate."""
    number = int(digest(["gates level", seed], length=20), 16)
    number, order = divmod(number, len(_GATE_ORDERS))
    ways = []
    for _ in GATES:
        number, way_order = divmod(number, len(_WAY_ORDERS))
        ways.append(_WAY_ORDERS[way_order])
    return Level(_GATE_ORDERS[order], tuple(ways))


class GatesTaskSet(SeededTaskSet):
    """The tasks of Gates: 1,296 families, with a level for each seed. A level's content decides its role."""

    def __init__(self) -> None:
        super().__init__(FAMILIES, lambda family, seed: repr(level_of(seed)))
