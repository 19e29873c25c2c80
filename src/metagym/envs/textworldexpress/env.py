"""TextWorldExpress's inner environment, and its tasks: the package's own seeds, in its own folds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import gymnasium
import numpy as np

from metagym.envs.java import JavaMachine
from metagym.errors import UnknownNameError
from metagym.spaces import TextSpace
from metagym.tasks import SeededTaskSet
from metagym.tasks.seeds import read_seeded_id
from metagym.types import Task

FAMILIES: Final = ("arithmetic", "coin", "cookingworld", "mapreader", "peckingorder", "simonsays", "sorting", "twc")
FOLDS: Final = {"train": range(1_000), "validation": range(10_000, 11_000), "test": range(20_000, 21_000)}
"""The package's seeds of each role; the games of another fold have other objects in some families."""
_FOLD_NAMES: Final = {"train": "train", "validation": "dev", "test": "test"}


def role_of_seed(family: str, seed: int) -> str:
    """Return the role whose fold a seed is in."""
    if family not in FAMILIES:
        raise UnknownNameError.of("family", family, FAMILIES)
    role = next((role for role, seeds in FOLDS.items() if seed in seeds), None)
    if role is None:
        raise UnknownNameError(f"Unknown seed {seed}: expected one of the folds {list(FOLDS.values())}.")
    return role


class TextWorldExpressGame:
    """The games of the package, one at a time, on a Java machine of its own."""

    def __init__(self) -> None:
        self.machine = JavaMachine("textworld-express", "textworld-express.jar")
        self._games = self.machine.jvm.textworldexpress.runtime.PythonInterface()

    def start(self, family: str, seed: int, *, with_gold_path: bool = False) -> dict[str, Any]:
        """Start the game of a family and a seed, and return the first turn."""
        fold = _FOLD_NAMES[role_of_seed(family, seed)]
        self._games.load(family, "")
        return self._read(self._games.generateNewGameJSON(seed, fold, with_gold_path))

    def step(self, command: str) -> dict[str, Any]:
        """Execute a command, and return the turn."""
        return self._read(self._games.stepJSON(command))

    def goal(self) -> str:
        """Return the task in words."""
        return str(self._games.getTaskDescription())

    def gold_path(self) -> tuple[str, ...]:
        """Return commands that win the game, if it was started with them."""
        return tuple(map(str, self._games.getGoldActionSequence()))

    @staticmethod
    def _read(turn: str) -> dict[str, Any]:
        return dict(json.loads(turn))


class TextWorldExpressEnv(gymnasium.Env[str, str]):
    """The games of TextWorldExpress. The same task gives the same episode in any process.

    `reset(options={"task_id": "coin/10005"})` names a game by family and seed; without a task id, `np_random` draws one
    of `families` and a seed for training. The reward is the gain in the game's score, which is also the progress.

    >>> env = TextWorldExpressEnv()
    >>> text, info = env.reset(options={"task_id": "simonsays/1"})
    >>> text
    "Simon says, 'eat banana'."
    >>> env.step("eat banana")[1]
    0.2
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(self, *, families: Sequence[str] = FAMILIES) -> None:
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self._families = tuple(families)
        self._game: TextWorldExpressGame | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the game `options["task_id"]` (`family/seed`); without an id, draw one."""
        super().reset(seed=seed)
        task_id = (options or {}).get("task_id")
        if task_id is None:
            family = self._families[int(self.np_random.integers(len(self._families)))]
            task_id = f"{family}/{self.np_random.choice(FOLDS['train'])}"
        self._game = self._game or TextWorldExpressGame()
        turn = self._game.start(*read_seeded_id(task_id))
        self._score, self._goal = 0.0, self._game.goal()
        return turn["observation"], self._info(turn)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute a command; the game answers an unknown one in words."""
        assert self._game is not None
        turn = self._game.step(action)
        before, self._score = self._score, float(turn["score"])
        return turn["observation"], self._score - before, _is_over(turn), False, self._info(turn)

    def close(self) -> None:
        """Let go of the game; its Java machine ends with it."""
        self._game = None

    def _info(self, turn: dict[str, Any]) -> dict[str, Any]:
        info = {"goal": self._goal, "success": turn["tasksuccess"], "progress": min(1.0, max(0.0, self._score))}
        if _is_over(turn):
            outcome = "the task is done" if turn["tasksuccess"] else "the task has failed"
            return info | {"available_actions": (), "outcome": outcome}
        return info | {"available_actions": tuple(sorted(set(turn["validActions"])))}


def _is_over(turn: dict[str, Any]) -> bool:
    return bool(turn["tasksuccess"] or turn["taskfailure"])


class TextWorldExpressTaskSet(SeededTaskSet):
    """The package's games. A task has the role of its fold, if the content of its start has that role, too.

    The folds share starts. So a start whose role is that of another fold has none, and is never drawn.
    """

    def __init__(self) -> None:
        self._game: TextWorldExpressGame | None = None
        self._known: dict[tuple[str, int], Task] = {}
        super().__init__(FAMILIES, self._start)

    def candidates(self, family: str, rng: np.random.Generator) -> Iterator[Task]:
        """Yield the games of all folds once each, shuffled."""
        seeds = [seed for fold in FOLDS.values() for seed in fold]
        return (self._task(family, seeds[index]) for index in rng.permutation(len(seeds)))

    def close(self) -> None:
        """Let go of the game."""
        self._game = None

    def _task(self, family: str, seed: int) -> Task:
        if (family, seed) not in self._known:  # a start takes milliseconds, and draws look at the same seeds again
            role, task = role_of_seed(family, seed), super()._task(family, seed)
            self._known[family, seed] = task if task.split == role else task.model_copy(update={"split": "none"})
        return self._known[family, seed]

    def _start(self, family: str, seed: int) -> str:
        self._game = self._game or TextWorldExpressGame()
        turn = self._game.start(family, seed)
        return f"{self._game.goal()}\n{turn['observation']}"
