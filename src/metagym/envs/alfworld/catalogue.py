"""Finds games by task id and keeps a limited number of them in memory. It is thread-safe."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.game import Game, parse_game
from metagym.envs.alfworld.generated import export, games
from metagym.envs.alfworld.official_games import Listing, find_games_folder, list_games, read_official_game
from metagym.errors import ConfigError, UnknownNameError

DataName = Literal["official", "generated"]


class GameCatalogue:
    """All games of one kind: `official`, `generated`, or None for the official ones if they are found.

    >>> catalogue = GameCatalogue(data="generated")
    >>> catalogue.game(catalogue.sample_ids(per_family=1)[0]).goal
    'put some creditcard on drawer.'

    Raises:
        ConfigError: official games are wanted and not found, or the path holds no games.
    """

    def __init__(self, *, data: DataName | None = None, data_dir: str | None = None, capacity: int = 64) -> None:
        if data not in (None, "official", "generated"):
            raise ConfigError(f"data must be 'official', 'generated' or None, got {data!r}.")
        folder = None if data == "generated" else find_games_folder(data_dir)
        if data == "official" and folder is None:
            raise ConfigError(
                "data='official' expects the games' folder in ALFWORLD_DATA (or data_dir), got nothing. Fetch "
                "the games with `alfworld-download` and set the variable, or use data='generated'."
            )
        self.folder: Path | None = folder
        self.data_name: DataName = "official" if folder is not None else "generated"
        # Two threads may read the same game at once, which is harmless.
        self._games = lru_cache(capacity)(self._read_game)
        self._listing: Listing | None = None
        self._lock = threading.Lock()

    def listing(self) -> Listing:
        """Return the list of official games. They are read from the disk once."""
        assert self.folder is not None
        with self._lock:
            if self._listing is None:
                self._listing = list_games(self.folder)
            return self._listing

    def sample_ids(self, *, per_family: int) -> tuple[str, ...]:
        """Return the ids of all official games, or of the first seeds of each generated family."""
        if self.folder is not None:
            return self.listing().playable
        return tuple(games.task_id(family, seed) for family in FAMILIES for seed in range(per_family))

    def game(self, task_id: str) -> Game:
        """Return the game of that id.

        Raises:
            UnknownNameError: there is no such game.
            GameFileError: the game cannot be read or played.
        """
        return self._games(task_id)

    def _read_game(self, task_id: str) -> Game:
        is_generated = self._is_generated(task_id)
        return games.make_game(task_id) if is_generated else parse_game(self.data(task_id), name=task_id)

    def data(self, task_id: str) -> dict[str, Any]:
        """Return the content of the game's `game.tw-pddl`. A generated game's needs the package alfworld."""
        if self._is_generated(task_id):
            return export.game_data(task_id)
        assert self.folder is not None
        return read_official_game(self.folder, task_id)

    def _is_generated(self, task_id: str) -> bool:
        if self.folder is not None:
            return False
        if task_id.split("/")[0] == games.SOURCE:
            return True
        raise UnknownNameError(
            f"Unknown task id {task_id!r}: this catalogue holds generated games, whose ids begin with "
            f"'{games.SOURCE}/'. For official games set ALFWORLD_DATA."
        )
