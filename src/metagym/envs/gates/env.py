"""Gates' inner environment: a road with four gates, to be passed before dusk."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium

from metagym.envs.gates.laws import FAMILIES, GATES, WAYS, law_of, level_of
from metagym.spaces import TextSpace

NUM_TURNS = 10
BACKFIRE_TURNS = 3
ORDINALS = ("first", "second", "third", "last")
GOAL = "Pass all four gates before dusk."


class GatesEnv(gymnasium.Env[str, str]):
    """A road with an oak, an iron, a stone and a glass gate, in any order. One of six ways opens each gate.

    The family's hidden law says which way opens which gate; it is the same on all roads of the family. Every try costs
    one turn, and for each gate one wrong way costs three. Dusk falls after ten turns. Passing the last gate gives the
    reward 1.

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
        task_id = (options or {}).get("task_id")
        if task_id is None:
            task_id = f"{FAMILIES[self.np_random.integers(len(FAMILIES))]}/{self.np_random.integers(2**31)}"
        family, _, level_seed = task_id.rpartition("/")
        self._law = law_of(family)
        self._level = level_of(int(level_seed))
        self._passed, self._turns = 0, NUM_TURNS
        return self._place(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Try a way at the gate."""
        if action not in WAYS:
            return f"You do not know how to {action!r} a gate. {self._place()}", 0.0, False, False, self._info()
        gate = self._level.gates[self._passed]
        index = GATES.index(gate)
        if action == self._law.opens[index]:
            text = f"You {action}. The {gate} gate opens."
            self._passed += 1
            self._turns -= 1
        elif action == self._law.backfires[index]:
            text = f"You {action}. The {gate} gate stays shut, and a landslide costs you {BACKFIRE_TURNS} turns."
            self._turns -= BACKFIRE_TURNS
        else:
            text = f"You {action}. The {gate} gate stays shut."
            self._turns -= 1
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
        return {"goal": GOAL, "available_actions": ways, "success": False, **extra}
