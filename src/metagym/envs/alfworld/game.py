"""Reads a game from the content of a `game.tw-pddl`; and the native engine, which plays it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from metagym.envs.alfworld import observations
from metagym.envs.alfworld.grammar import TASK_PREFIX, Wording, read_task, read_wording
from metagym.envs.alfworld.pddl import read_problem
from metagym.envs.alfworld.rules import Layout, Move, World
from metagym.errors import InfrastructureError

FIELDS = ("pddl_domain", "grammar", "pddl_problem")
UNMARKED, UNSOLVABLE = "nothing says whether it is solvable", "it is marked unsolvable"
GameData = Mapping[str, Any]
"""The JSON of a `game.tw-pddl`."""


class GameFileError(InfrastructureError, ValueError):
    """A game's file cannot be read, or its game cannot be played."""


class Game(NamedTuple):
    """A game that is ready to play. It never changes, so any number of plays may share it."""

    task: str
    """The task's sentence, which ends the first observation."""
    layout: Layout
    wording: Wording
    walkthrough: tuple[str, ...]
    """Commands that win."""

    @property
    def goal(self) -> str:
        """The task's sentence without `Your task is to:`."""
        return self.task.removeprefix(TASK_PREFIX)


def problem_with(data: object) -> str:
    """Return why the content of a game's file cannot be played; empty if it can."""
    if not isinstance(data, dict):
        return f"expected a JSON object, got {type(data).__name__}"
    missing = [name for name in FIELDS if not isinstance(data.get(name), str)]
    if missing:
        return f"it lacks {', '.join(missing)}"
    if "solvable" not in data:
        return UNMARKED
    return "" if data["solvable"] else UNSOLVABLE


def parse_game(data: GameData, *, name: str = "game") -> Game:
    """Return the game that the content of a `game.tw-pddl` describes.

    Raises:
        GameFileError: the content is malformed, or its rules or texts are not those of ALFWorld's games.
    """
    try:
        task, grammar = read_task(data["grammar"])
        wording = read_wording(data["pddl_domain"], grammar)
        layout = Layout(read_problem(data["pddl_problem"]))
    except (ValueError, KeyError, IndexError) as error:  # PddlError is a ValueError
        raise GameFileError(f"The game {name} cannot be played natively: {error}.") from error
    return Game(task, layout, wording, tuple(data.get("walkthrough") or ()))


class Turn(NamedTuple):
    """An engine's answer to a command."""

    text: str
    commands: tuple[str, ...]
    """The admissible commands, sorted."""
    won: bool
    progress: float | None = None
    """How much of the goal is reached, from 0 to 1; None if the engine does not know it."""


class Engine(Protocol):
    """Plays one game at a time."""

    needs_data: bool
    """Whether `start` reads `data`; if not, `data` may be empty."""

    def start(self, game: Game, data: GameData) -> Turn:
        """Start `game`; `data` is the content of its file."""

    def step(self, command: str) -> Turn:
        """Execute `command`. A command that is not admissible changes nothing."""

    def close(self) -> None:
        """Release the engine's resources."""


class NativeEngine:
    """Plays in plain Python, with the same texts, admissible commands and ends as TextWorld."""

    needs_data = False

    def start(self, game: Game, data: GameData | None = None) -> Turn:
        """Start `game`."""
        self._game = game
        self._world = World(game.layout, game.wording)
        return self._turn(observations.introduction(self._world, game.task))

    def step(self, command: str) -> Turn:
        """Execute `command`."""
        move = self._moves.get(command.strip())
        if move is None:
            return self._answer(observations.NOTHING_HAPPENS)
        self._world.apply(move)
        return self._turn(observations.feedback(self._world, move, self._game.wording))

    def close(self) -> None:
        """Do nothing."""

    def _turn(self, text: str) -> Turn:
        self._moves: dict[str, Move] = self._world.moves()
        return self._answer(text)

    def _answer(self, text: str) -> Turn:
        return Turn(text, tuple(self._moves), self._world.won(), self._world.progress())
