"""Gates: the laws, the levels and the tasks, and the inner environment, a road with four gates.

For each of four gates, a law says which of six ways opens it and which other way backfires. There are 6^4 = 1,296
laws, one per family. They conflict: a way that opens a gate in one family fails in five of six others. Over all laws
each way is equally good, so no constant prompt is better than the default prompt.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any, ClassVar, NamedTuple

import gymnasium

from metagym.errors import UnknownNameError, check_started
from metagym.spaces import TextSpace
from metagym.tasks import SeededTaskSet
from metagym.tasks.seeds import asked_task
from metagym.types import derive_seed, digest

NUM_TURNS = 10
BACKFIRE_TURNS = 3
ORDINALS = ("first", "second", "third", "last")
GOAL = "Pass all four gates before dusk."
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
    """Return the law of a family."""
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


class GatesEnv(gymnasium.Env[str, str]):
    """A road with an oak, an iron, a stone and a glass gate, in any order. One of six ways opens each gate.

    The family's hidden law says which way opens which gate; it is the same on all roads of the family. Every try costs
    one turn, and for each gate one wrong way costs three. Dusk falls after ten turns. Passing the last gate gives the
    reward 1, and each gate a quarter of the progress.

    >>> env = GatesEnv()
    >>> text, info = env.reset(seed=3, options={"task_id": "law-0007/3"})
    >>> text
    'You stand before the glass gate, the first of four. Dusk falls in 10 turns.'
    >>> info["available_actions"]
    ('wait', 'push', 'whistle', 'knock', 'sing', 'pull')
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(self) -> None:
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the level `options["task_id"]` (`family/seed`); without an id, draw one."""
        super().reset(seed=seed)
        family, level_seed = asked_task(options, self.np_random, FAMILIES)
        self._law = law_of(family)
        self._level = level_of(level_seed)
        self._passed, self._turns = 0, NUM_TURNS
        return self._place(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Try a way at the gate."""
        check_started(self, "_level")
        if action not in WAYS:
            return f"You do not know how to {action!r} a gate. {self._place()}", 0.0, False, False, self._info()
        gate = self._level.gates[self._passed]
        index = GATES.index(gate)
        self._turns -= BACKFIRE_TURNS if action == self._law.backfires[index] else 1
        if action == self._law.opens[index]:
            text = f"You {action}. The {gate} gate opens."
            self._passed += 1
        elif action == self._law.backfires[index]:
            text = f"You {action}. The {gate} gate stays shut, and a landslide costs you {BACKFIRE_TURNS} turns."
        else:
            text = f"You {action}. The {gate} gate stays shut."
        if self._passed == len(GATES):
            info = self._info(success=True, outcome="passed the last gate", available_actions=())
            return f"{text} You have passed them all.", 1.0, True, False, info
        if self._turns <= 0:
            info = self._info(outcome="dusk fell", available_actions=())
            return f"{text} Dusk falls.", 0.0, True, False, info
        return f"{text} {self._place()}", 0.0, False, False, self._info()

    def _place(self) -> str:
        gate, turns = self._level.gates[self._passed], self._turns
        return (
            f"You stand before the {gate} gate, the {ORDINALS[self._passed]} of four. "
            f"Dusk falls in {turns} turn{'' if turns == 1 else 's'}."
        )

    def _info(self, **extra: Any) -> dict[str, Any]:
        ways = self._level.ways[min(self._passed, len(GATES) - 1)]
        progress = self._passed / len(GATES)
        return {"goal": GOAL, "available_actions": ways, "success": False, "progress": progress, **extra}
