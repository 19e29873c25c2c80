"""The laws of Gates: which way opens which gate, which one backfires; and the levels that a seed gives.

A law is a hidden choice for each of four gates: one of six ways opens it, another one backfires. There
are 6^4 = 1,296 laws, one a family. They conflict: what opens a gate in one family fails in five of
six others. Over all laws each way is as good as any other, so no constant prompt beats `sp_0`.
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
    """What opens each gate, and what backfires there, in the order of `GATES`."""

    opens: tuple[str, ...]
    backfires: tuple[str, ...]


class Level(NamedTuple):
    """The order of the gates on the road, and the order in which the ways are listed at each."""

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
    # Drawn for each law on its own: a way that backfires tells nothing, over all laws, of the way that opens.
    backfires = tuple(
        [way for way in WAYS if way != right][derive_seed("backfires", number, gate) % (len(WAYS) - 1)]
        for gate, right in zip(GATES, opens, strict=True)
    )
    return Law(opens, backfires)


def level_of(seed: int) -> Level:
    """Return the level of a seed: 24 orders of the gates times 720 orders of the ways at each gate."""
    number = int(digest(["gates level", seed], length=20), 16)
    number, order = divmod(number, len(_GATE_ORDERS))
    ways = []
    for _ in GATES:
        number, way_order = divmod(number, len(_WAY_ORDERS))
        ways.append(_WAY_ORDERS[way_order])
    return Level(_GATE_ORDERS[order], tuple(ways))


class GatesTaskSet(SeededTaskSet):
    """The tasks of Gates: 1,296 families, levels from seeds, roles by the level's content."""

    def __init__(self) -> None:
        super().__init__(FAMILIES, lambda family, seed: repr(level_of(seed)))
