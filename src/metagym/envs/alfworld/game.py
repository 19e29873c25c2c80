"""A game: what a `game.tw-pddl` holds, read and ready to be played; and the native engine that plays it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from metagym.envs.alfworld import texts
from metagym.envs.alfworld.pddl import read_problem
from metagym.envs.alfworld.wording import TASK_PREFIX, Wording, read_task, read_wording
from metagym.envs.alfworld.world import Layout, Move, World
from metagym.errors import InfrastructureError

FIELDS = ("pddl_domain", "grammar", "pddl_problem")
GameData = Mapping[str, Any]
"""The JSON of a `game.tw-pddl`."""


class GameFileError(InfrastructureError, ValueError):
    """A game's file cannot be read, or holds no game that can be played."""


class Game(NamedTuple):
    """A game, ready to be played. Nothing in it changes, so that any number of plays share it."""

    task: str
    """The task's sentence, as it ends the first observation."""
    layout: Layout
    wording: Wording
    walkthrough: tuple[str, ...]
    """Commands that win."""

    @property
    def goal(self) -> str:
        """What the task asks for: the sentence without its beginning."""
        return self.task.removeprefix(TASK_PREFIX)


def read_game_file(path: Path) -> dict[str, Any]:
    """Return the JSON of a game's file, where it holds a game.

    Raises:
        GameFileError: there is no such file, it is cut off or no game, or the game is marked unsolvable.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GameFileError(f"Expected a game at {path}, found no file. Download the games again.") from None
    except (OSError, ValueError) as error:
        raise GameFileError(f"The game {path} cannot be read: {error}. Download it again, or remove it.") from error
    if problem := problem_with(data):
        raise GameFileError(f"The file {path} holds no playable game: {problem}. Download it again, or remove it.")
    return dict(data)


def problem_with(data: object) -> str:
    """Say what keeps a game's JSON from being played; empty where nothing does."""
    if not isinstance(data, dict):
        return f"expected a JSON object, got {type(data).__name__}"
    missing = [name for name in FIELDS if not isinstance(data.get(name), str)]
    if missing:
        return f"it lacks {', '.join(missing)}"
    if "solvable" not in data:
        return "nothing says whether it is solvable"
    return "" if data["solvable"] else "it is marked unsolvable"


def parse_game(data: GameData, *, name: str = "game") -> Game:
    """Return the game that the JSON of a `game.tw-pddl` describes.

    Raises:
        GameFileError: it is malformed, or has other rules than ALFWorld's games.
    """
    try:
        task, grammar = read_task(data["grammar"])
        wording = read_wording(data["pddl_domain"], grammar)
        layout = Layout(read_problem(data["pddl_problem"]))
    except (ValueError, KeyError, IndexError) as error:  # PddlError is a ValueError
        raise GameFileError(f"The game {name} cannot be played natively: {error}.") from error
    return Game(task, layout, wording, tuple(data.get("walkthrough") or ()))


class Turn(NamedTuple):
    """What an engine answers."""

    text: str
    commands: tuple[str, ...]
    """The admissible commands, sorted."""
    won: bool


class Engine(Protocol):
    """Plays one game at a time."""

    needs_data: bool
    """Whether it reads the game's JSON; else that may be empty."""

    def start(self, game: Game, data: GameData) -> Turn:
        """Begin `game`; `data` is its JSON."""
        ...

    def step(self, command: str) -> Turn:
        """Execute `command`; one that is not admissible changes nothing."""
        ...

    def close(self) -> None:
        """Give back what the engine holds."""
        ...


class NativeEngine:
    """Plays in plain Python, equal to TextWorld in text, admissible commands and end."""

    needs_data = False

    def start(self, game: Game, data: GameData | None = None) -> Turn:
        """Begin `game`. Its JSON is not needed."""
        self._game = game
        self._world = World(game.layout, game.wording)
        return self._turn(texts.introduction(self._world, game.task))

    def step(self, command: str) -> Turn:
        """Execute `command`; one that is not admissible changes nothing."""
        move = self._moves.get(command.strip())
        if move is None:
            return Turn(texts.NOTHING_HAPPENS, tuple(self._moves), self._world.won())
        self._world.apply(move)
        return self._turn(texts.feedback(self._world, move, self._game.wording))

    def close(self) -> None:
        """Nothing is held."""

    def _turn(self, text: str) -> Turn:
        self._moves: dict[str, Move] = self._world.moves()
        return Turn(text, tuple(self._moves), self._world.won())
