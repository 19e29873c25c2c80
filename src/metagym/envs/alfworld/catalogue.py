"""Finds games by task id, and keeps those that were read, up to a bound. Threads may share it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal

from metagym.envs.alfworld import export, generate
from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.game import Game, parse_game
from metagym.envs.alfworld.official import SOURCES, Listing, find_games_folder, list_games, read_official
from metagym.errors import ConfigError, UnknownNameError

DataName = Literal["official", "generated"]
CAPACITY = 64


class GameCatalogue:
    """All games of one kind of data: `official`, `generated`, or None for official ones where they are found.

    >>> catalogue = GameCatalogue(data="generated")
    >>> catalogue.game(catalogue.sample_ids(per_family=1)[0]).goal
    'put some creditcard on drawer.'

    Raises:
        ConfigError: official games are asked for and not found, or a path names none.
    """

    def __init__(self, *, data: DataName | None = None, data_dir: str | None = None, capacity: int = CAPACITY) -> None:
        if data not in (None, "official", "generated"):
            raise ConfigError(f"data must be 'official', 'generated' or None, got {data!r}.")
        folder = None if data == "generated" else find_games_folder(data_dir)
        if data == "official" and folder is None:
            raise ConfigError(
                "data='official' expects the games' folder in ALFWORLD_DATA (or data_dir), got nothing. Fetch "
                "the games with `alfworld-download` and set it, or ask for data='generated'."
            )
        self.folder: Path | None = folder
        self.data_name: DataName = "official" if folder is not None else "generated"
        self._capacity = capacity
        self._games: OrderedDict[str, Game] = OrderedDict()
        self._listing: Listing | None = None
        self._lock = threading.Lock()

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the games come from."""
        return SOURCES if self.folder is not None else (generate.SOURCE,)

    def listing(self) -> Listing:
        """List the official games; they are read from the disk once."""
        assert self.folder is not None
        with self._lock:
            if self._listing is None:
                self._listing = list_games(self.folder)
            return self._listing

    def sample_ids(self, *, per_family: int) -> tuple[str, ...]:
        """Return ids: of the official games all, of the generated ones those of the first seeds."""
        if self.folder is not None:
            return self.listing().playable
        return tuple(generate.task_id(family, seed) for family in FAMILIES for seed in range(per_family))

    def spelling(self) -> str:
        """Return how the games' players put things down, `move` or `put`; the first game speaks for all."""
        return self.game(self.sample_ids(per_family=1)[0]).wording.spelling

    def game(self, task_id: str) -> Game:
        """Return the game, ready to be played.

        Raises:
            UnknownNameError: there is none of that id.
            GameFileError: it cannot be read, or not be played.
        """
        with self._lock:
            if task_id in self._games:
                self._games.move_to_end(task_id)
                return self._games[task_id]
        # Read outside the lock: two threads may read the same game, which is harmless.
        if self._is_generated(task_id):
            game = generate.as_game(task_id)
        else:
            game = parse_game(self.data(task_id), name=task_id)
        with self._lock:
            self._games[task_id] = game
            while len(self._games) > self._capacity:
                self._games.popitem(last=False)
        return game

    def data(self, task_id: str) -> dict[str, Any]:
        """Return the game's JSON, as a `game.tw-pddl` holds it.

        Raises:
            UnknownNameError: there is none of that id.
            GameFileError: it cannot be read, or not be played.
            MissingExtraError: it is a generated game, whose file needs the domain that alfworld ships.
        """
        if self._is_generated(task_id):
            return export.game_data(task_id)
        assert self.folder is not None
        return read_official(self.folder, task_id)

    def _is_generated(self, task_id: str) -> bool:
        if self.folder is not None:
            return False
        if task_id.split("/")[0] == generate.SOURCE:
            return True
        raise UnknownNameError(
            f"Unknown task id {task_id!r}: the games here are generated, their ids begin with '{generate.SOURCE}/'. "
            "Official games need ALFWORLD_DATA."
        )
