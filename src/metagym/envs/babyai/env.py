"""BabyAI's inner environment, a plain `gymnasium.Env[str, str]`: the observation is a text, the action a name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import gymnasium

from metagym.envs.babyai.families import DEFAULT_FAMILIES, groups, make_level
from metagym.envs.babyai.families import families as all_families
from metagym.envs.babyai.view import name_of, view_of
from metagym.errors import check_started
from metagym.spaces import TextSpace
from metagym.tasks.seeds import asked_task, named_families

ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
"""BabyAI's actions, in the order of their numbers."""


class BabyAITextEnv(gymnasium.Env[str, str]):
    """BabyAI's levels in text. The same task gives the same episode in any process.

    `reset(options={"task_id": "BabyAI-GoToLocal-v0/123"})` names a level by family and seed; without a task id,
    `np_random` draws one of `families` (ids, or kinds of missions) and a seed. The mission is the goal. The reward is
    BabyAI's: 1 for a mission that is done at once, down to 0.1 at the limit of steps. `progress` is the share of the
    mission's parts that are done ("go to the red door and pick up a ball" has two).

    >>> env = BabyAITextEnv()
    >>> text, info = env.reset(options={"task_id": "BabyAI-GoToLocal-v0/1"})
    >>> info["goal"]
    'go to the purple box'
    >>> print(env.step("turn left")[0].splitlines()[0])
    You turn left.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(self, *, families: Sequence[str] = DEFAULT_FAMILIES) -> None:
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self._families = named_families(families, all_families(), groups())
        self._levels: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the level `options["task_id"]` (`family/seed`); without an id, draw one."""
        super().reset(seed=seed)
        family, number = asked_task(options, self.np_random, self._families)
        if family not in self._levels:
            self._levels[family] = make_level(family)
        self._level = self._levels[family]
        self._level.reset(seed=number)
        self._parts = tuple(_parts(self._level))
        return view_of(self._level), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute an action; an unknown one costs nothing and says so."""
        check_started(self, "_level")
        if action not in ACTIONS:
            return f"There is no action {action!r}.\n{view_of(self._level)}", 0.0, False, False, self._info()
        before, done_before = _State(self._level), self._done()
        _, reward, terminated, truncated, _ = self._level.step(ACTIONS.index(action))
        said = [before.outcome(action, self._level)]
        said += [f"Done: {part.text}." for part in self._done() if part not in done_before]
        text = "\n".join([" ".join(said), view_of(self._level)])
        success = terminated and reward > 0
        info = self._info(success=success)
        if terminated:
            info |= {"outcome": "the mission is done" if success else "the mission failed", "available_actions": ()}
        return text, float(reward), terminated, truncated, info

    def close(self) -> None:
        """Close the levels."""
        for level in self._levels.values():
            level.close()
        self._levels.clear()

    def _done(self) -> list[_Part]:
        return [part for part in self._parts if part.is_done]

    def _info(self, *, success: bool = False) -> dict[str, Any]:
        progress = 1.0 if success else len(self._done()) / max(1, len(self._parts))
        about = {"goal": self._level.mission, "available_actions": ACTIONS}
        return {**about, "success": success, "progress": progress}


class _Part:
    """A part of a mission, such as `go to the red door` of `go to the red door and pick up a ball`."""

    def __init__(self, text: str, whole: Any, flag: str) -> None:
        self.text, self._whole, self._flag = text, whole, flag

    @property
    def is_done(self) -> bool:
        """Whether BabyAI counts it as done."""
        return bool(getattr(self._whole, self._flag) == "success")


def _parts(level: Any, whole: Any = None) -> Iterator[_Part]:
    """Yield the parts of a mission that has several; to be called at the start only.

    BabyAI's `surface` looks again for the things that a mission means.
    """
    whole = level.instrs if whole is None else whole
    for name, flag in (("instr_a", "a_done"), ("instr_b", "b_done")):
        part = getattr(whole, name, None)
        if hasattr(part, "instr_a"):
            yield from _parts(level, part)
        elif part is not None:
            yield _Part(part.surface(level), whole, flag)


class _State:
    """The state that an action may change, as it was before."""

    def __init__(self, level: Any) -> None:
        self.place, self.carrying = tuple(level.agent_pos), level.carrying
        self.ahead = level.grid.get(*level.front_pos)
        self.ahead_name = None if self.ahead is None else name_of(self.ahead)

    def outcome(self, action: str, level: Any) -> str:
        """Return the effect of the action, in words."""
        if action in ("turn left", "turn right"):
            return f"You {action}."
        if action == "go forward":
            is_moved = tuple(level.agent_pos) != self.place
            return "You go forward." if is_moved else f"You cannot go forward: {self.ahead_name} is in the way."
        if action == "pick up":
            if self.carrying is None and level.carrying is not None:
                return f"You pick up {name_of(level.carrying)}."
            full = "" if self.carrying is None else f": you carry {name_of(self.carrying)}, and can carry one thing"
            return f"You pick up nothing{full}. Ahead is {self.ahead_name or 'a free square'}."
        if action == "drop":
            if self.carrying is None:
                return "You carry nothing that you could drop."
            held = name_of(self.carrying)
            if level.carrying is None:
                return f"You drop {held} ahead of you."
            return f"You cannot drop {held} here: ahead is {self.ahead_name}."
        now = level.grid.get(*level.front_pos)
        if now is not self.ahead:
            found = "nothing was in it" if now is None else f"ahead is now {name_of(now)}, which was in it"
            return f"You open {self.ahead_name}, and it is gone: {found}."
        if now is None or name_of(now) == self.ahead_name:
            return f"Nothing happens. Ahead is {self.ahead_name or 'a free square'}."
        return f"Ahead is now {name_of(now)}."
