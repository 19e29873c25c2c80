"""ScienceWorld's inner environment, and its tasks: the package's variations, in its own folds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from metagym.envs.java import JavaMachine
from metagym.envs.java_games import FoldedTaskSet, GameTurn, JavaGame, JavaGameEnv, fold_of
from metagym.envs.scienceworld.families import DEFAULT_FAMILIES, FOLDS, TOPICS
from metagym.errors import ConfigError

SIMPLIFICATIONS: Final = (
    "easy",
    "noElectricalAction",
    "openContainers",
    "openDoors",
    "selfWateringFlowerPots",
    "teleportAction",
)
"""The package's own names; `easy` means all of them. Tasks of electricity need electrical commands, and keep them."""
_HIDDEN: Final = ("reset task", "task")
"""Commands that show or undo the task; the goal is the observation's, and it may be hidden from the actor."""
_CHOICE: Final = re.compile(r"^(\d+):\t", re.M)


def check_simplifications(names: Sequence[str]) -> None:
    """Raise ConfigError for a name that the package does not have."""
    for name in names:
        if name not in SIMPLIFICATIONS:
            raise ConfigError(f"simplifications must be among {SIMPLIFICATIONS}, got {name!r}.")


class ScienceWorldGame(JavaGame):
    """The tasks of ScienceWorld. `list_commands` lists all valid commands: some hundreds, at half of the speed."""

    def __init__(self, *, simplifications: Sequence[str] = (), list_commands: bool = False) -> None:
        check_simplifications(simplifications)
        self.machine = JavaMachine("scienceworld", "scienceworld.jar")
        self._games = self.machine.jvm.scienceworld.runtime.pythonapi.PythonInterface()
        self._simplifications, self._list_commands = tuple(simplifications), list_commands
        self._choices: tuple[str, ...] = ()

    def start(self, family: str, seed: int, *, with_gold_path: bool = False) -> GameTurn:
        """Start a variation of a family, and return the first turn: the room, and the forms of commands."""
        fold_of(FOLDS, family, seed)
        left_out = {"noElectricalAction"} if family in TOPICS["electricity"] else set()
        simplifications = ",".join(name for name in self._simplifications if name not in left_out)
        self._games.load(family, seed, simplifications, with_gold_path)
        self._choices = ()
        forms = [form for form in map(str, self._games.getPossibleActions()) if form not in _HIDDEN]
        self._forms = f"Commands: {', '.join(forms)}. OBJ is the name of a thing."
        text = f"{self._games.freeActionLook().strip()}\n{self._forms}"
        return GameTurn(
            text, 0.0, False, False, self._commands()
        )  # until the first step, the score is that of the last game

    def step(self, command: str) -> GameTurn:
        """Execute a command, and return the turn."""
        if self._choices and command.strip() not in self._choices:
            self._games.step("")  # leave the question open; else the game takes any text for an answer to it
        self._choices = ()
        if " ".join(command.split()).casefold() in _HIDDEN:
            return self._turn(f"There is no such command. {self._forms}")
        text = str(self._games.step(command)).strip()
        if text.startswith("Ambiguous request"):
            self._choices = tuple(_CHOICE.findall(text))
        elif text.startswith("No known action"):
            text = f"{text} {self._forms}"
        return self._turn(text)

    def goal(self) -> str:
        """Return the task in words."""
        return str(self._games.getTaskDescription())

    def gold_path(self) -> tuple[str, ...]:
        """Return commands that do the task, if it was started with them."""
        return tuple(map(str, self._games.getGoldActionSequence()))

    def _turn(self, text: str) -> GameTurn:
        score = float(self._games.getScore())
        return GameTurn(text, max(0.0, score), score >= 1.0, score < 0.0, self._commands())

    def _commands(self) -> tuple[str, ...] | None:
        if not self._list_commands:
            return None
        found = set(map(str, self._games.getValidActionObjectCombinations()))
        return self._choices or tuple(sorted(found.difference(_HIDDEN)))


class ScienceWorldEnv(JavaGameEnv):
    """The tasks of ScienceWorld, see `JavaGameEnv`; `boil/3` names a task by family and variation.

    Any text is an action. The first observation lists the forms of commands; with `list_commands` all valid commands
    are the available actions. `families` are kinds of tasks, or topics. `simplifications` are the package's own
    (`SIMPLIFICATIONS`).

    >>> env = ScienceWorldEnv()
    >>> text, info = env.reset(options={"task_id": "find-plant/3"})
    >>> info["goal"].splitlines()[0][:38]
    'Your task is to find a(n) plant. First'
    >>> env.step("open door to kitchen")[0]
    'The door is now open.'
    """

    def __init__(
        self,
        *,
        families: Sequence[str] = DEFAULT_FAMILIES,
        simplifications: Sequence[str] = (),
        list_commands: bool = False,
    ) -> None:
        make_game = partial(ScienceWorldGame, simplifications=simplifications, list_commands=list_commands)
        super().__init__(make_game, FOLDS, families, TOPICS)


class ScienceWorldTaskSet(FoldedTaskSet):
    """The package's variations: no two of a family are equal, so that a variation is its content."""

    def __init__(self) -> None:
        super().__init__(FOLDS, lambda family, variation: str(variation), groups=TOPICS)
