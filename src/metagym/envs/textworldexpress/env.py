"""TextWorldExpress's inner environment, and its tasks: the package's own seeds, in its own folds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from metagym.envs.java import JavaMachine
from metagym.envs.java_games import NO_ROLE, FoldedTaskSet, GameTurn, JavaGame, JavaGameEnv, fold_of
from metagym.types import Task

FAMILIES: Final = ("arithmetic", "coin", "cookingworld", "mapreader", "peckingorder", "simonsays", "sorting", "twc")
SEEDS: Final = {"train": range(1_000), "validation": range(10_000, 11_000), "test": range(20_000, 21_000)}
"""The package's seeds of each role; the games of another fold have other objects in some families."""
FOLDS: Final = dict.fromkeys(FAMILIES, SEEDS)
_FOLD_NAMES: Final = {"train": "train", "validation": "dev", "test": "test"}


class TextWorldExpressGame(JavaGame):
    """The games of TextWorldExpress."""

    def __init__(self) -> None:
        self.machine = JavaMachine("textworld-express", "textworld-express.jar")
        self._games = self.machine.jvm.textworldexpress.runtime.PythonInterface()

    def start(self, family: str, seed: int, *, with_gold_path: bool = False) -> GameTurn:
        """Start the game of a family and a seed, and return the first turn."""
        fold = _FOLD_NAMES[fold_of(FOLDS, family, seed)]
        self._games.load(family, "")
        return _read(self._games.generateNewGameJSON(seed, fold, with_gold_path))

    def step(self, command: str) -> GameTurn:
        """Execute a command, and return the turn."""
        return _read(self._games.stepJSON(command))

    def goal(self) -> str:
        """Return the task in words."""
        return str(self._games.getTaskDescription())

    def gold_path(self) -> tuple[str, ...]:
        """Return commands that win the game, if it was started with them."""
        return tuple(map(str, self._games.getGoldActionSequence()))


def _read(text: str) -> GameTurn:
    turn = json.loads(text)
    actions = tuple(sorted(set(turn["validActions"])))
    return GameTurn(turn["observation"], float(turn["score"]), turn["tasksuccess"], turn["taskfailure"], actions)


class TextWorldExpressEnv(JavaGameEnv):
    """The games of TextWorldExpress, see `JavaGameEnv`; `coin/10005` names a game by family and seed.

    >>> env = TextWorldExpressEnv()
    >>> text, info = env.reset(options={"task_id": "simonsays/1"})
    >>> text
    "Simon says, 'eat banana'."
    >>> env.step("eat banana")[1]
    0.2
    """

    def __init__(self, *, families: Sequence[str] = FAMILIES) -> None:
        super().__init__(TextWorldExpressGame, FOLDS, families)


class TextWorldExpressTaskSet(FoldedTaskSet):
    """The package's games. A task has the role of its fold, if the content of its start has that role, too.

    The folds share starts. So a start whose role is that of another fold has no role, and is never drawn.
    """

    def __init__(self) -> None:
        self._game: TextWorldExpressGame | None = None
        super().__init__(FOLDS, self._start)

    def role(self, task: Task, fold: str) -> str:
        """Return the fold, if the digest of the start gives it, too."""
        return fold if task.split == fold else NO_ROLE

    def close(self) -> None:
        """Let go of the game."""
        self._game = None

    def _start(self, family: str, seed: int) -> str:
        self._game = self._game or TextWorldExpressGame()
        turn = self._game.start(family, seed)
        return f"{self._game.goal()}\n{turn.text}"
