"""TextArena's single-player games as inner environments, and a meta-environment over them.

Written for textarena 0.7.4. Some games download word lists with nltk; those in `GAMES` need no download.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from metagym.actor import ActorSpec
from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.imports import package_versions, require
from metagym.spaces import TextSpace
from metagym.tasks import TaskSet
from metagym.types import Task, clean_text

GAMES = (
    "2048-v0",
    "Bandit-v0",
    "Blackjack-v0",
    "FifteenPuzzle-v0",
    "FrozenLake-v0",
    "LightsOut-v0",
    "Mastermind-v0",
    "Secretary-v0",
)
"""Games that run offline, are exactly seeded and have many different starts: the default families."""


class TextArenaEnv(gymnasium.Env[str, str]):
    """TextArena games, one after another, as an inner environment.

    The family in the task id is the id of the game. Any text is an action; the first observation explains which ones
    the game expects. `success` means the full reward of 1; the return may be partial credit.
    """

    def __init__(self, game: str = GAMES[0]) -> None:
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self._first, self._game = game, ""
        self._env: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the game of `options["task_id"]` (`game/seed`), by default the first one."""
        super().reset(seed=seed)
        game = (options or {}).get("task_id", f"{self._first}/").rpartition("/")[0]
        if game != self._game:
            try:  # "-raw": without the wrapper that repeats the whole conversation
                self._env, self._game = require("textarena").make(f"{game}-raw"), game
            except ValueError as error:
                raise ConfigError(f"Expected the id of a TextArena game, got {game!r}: {error}.") from error
        start = int(self.np_random.integers(2**31)) if seed is None else seed
        with self._own_random(start):
            try:
                self._env.reset(num_players=1, seed=start)
            except AssertionError as error:
                raise ConfigError(f"Expected a single-player game, got {game!r}: {error}.") from error
            return self._read(), {"success": False}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Send the text to the game; if the game raises, end the episode and name the error."""
        with self._own_random():
            try:
                done, _ = self._env.step(action=action)
                text = self._read()
            except Exception as error:  # a bug of the game, triggered by the agent's text
                message = f"The game raised an error: {type(error).__name__}."
                return message, 0.0, False, True, {"success": False, "outcome": clean_text(f"{message} {error}")}
        if not done:
            return text, 0.0, False, False, {"success": False}
        rewards, game_info = self._env.close()
        reward = float((rewards or {}).get(0, 0.0))
        outcome = str(game_info[0].get("reason") or "")
        info = {"success": math.isclose(reward, 1.0), "outcome": clean_text(outcome)}
        return text or outcome or "The game is over.", reward, True, False, info

    def content(self, task: Task) -> str:
        """Return the content of a task: its text and its hidden state at the start."""
        text, _ = self.reset(seed=task.seed, options={"task_id": task.id})
        return f"{text}\n{json.dumps(_plain(self._env.state.game_state), sort_keys=True)}"

    @contextlib.contextmanager
    def _own_random(self, seed: int | None = None) -> Iterator[None]:
        """Use the game's own random stream: games draw from the global `random`, some from numpy's."""
        outer = (random.getstate(), np.random.get_state())
        if seed is None:
            _set_global_random(self._random_state)
        else:
            random.seed(seed)
            np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            self._random_state: tuple[Any, Any] = (random.getstate(), np.random.get_state())
            _set_global_random(outer)

    def _read(self) -> str:
        _, messages = self._env.get_observation()
        # The player's own messages are left out: the record holds them as actions.
        return clean_text("\n".join(text for sender, text, _ in messages if sender != 0)).strip()


class TextArenaMetaEnv(MetaEnv):
    """A meta-environment over TextArena games; each game is a family."""

    default_prompt = "You play a text game. Read its rules, and win."
    names_kinds = False

    def __init__(self, actor: ActorSpec = None, *, games: Sequence[str] = GAMES, **options: Any) -> None:
        if isinstance(games, str) or not games:
            raise ConfigError(f"games must be a non-empty list of TextArena ids, got {games!r}.")
        self.games = tuple(games)
        super().__init__(actor, **options)

    @staticmethod
    def make_inner_env() -> TextArenaEnv:
        """Make an inner environment for any game."""
        return TextArenaEnv()

    def make_task_set(self) -> TaskSet:
        """Make the tasks: the seeds of each game. The text and hidden state of a start decide its role."""
        content: Any = TextArenaEnv.content
        return TaskSet.from_seeds(TextArenaEnv, 100_000, families=self.games, digest=content)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the games and TextArena's version, with which the games change."""
        return {"games": list(self.games), **package_versions("textarena")}


def _set_global_random(state: tuple[Any, Any]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])


def _plain(value: Any) -> Any:
    """Return a game's state as JSON that is equal in all processes: without addresses, and with sorted sets."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(_plain(item), sort_keys=True) for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return _plain(vars(value)) if hasattr(value, "__dict__") else str(value)
