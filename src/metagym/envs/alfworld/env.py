"""ALFWorld's inner environment: household tasks in text, one game at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import gymnasium

from metagym.envs.alfworld.catalogue import DataName, GameCatalogue
from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.game import Engine, Game, NativeEngine, Turn
from metagym.envs.alfworld.generated import games
from metagym.envs.alfworld.textworld_engine import SpawnedTextWorldEngine
from metagym.errors import ConfigError, check_started
from metagym.spaces import TextSpace

EngineName = Literal["native", "textworld"]

# With DOTALL the first try decides: a line feed would make them search in quadratic time.
_PUT = re.compile(r"put (.+) (?:in/on|in|on) (.+)", re.DOTALL)
_MOVE = re.compile(r"move (.+) to (.+)", re.DOTALL)


class ALFWorldTextEnv(gymnasium.Env[str, str]):
    """A household in text: the games of ALFWorld, one at a time.

    `data` selects the games: `official` (the folder in ALFWORLD_DATA or `data_dir`), `generated`, or None for the
    official ones if they are found. `engine` plays them: `native`, or `textworld`, the slow reference, which needs
    the extra `alfworld`; a function that makes an engine is allowed, too. With `accept_both_spellings` a game takes
    both `move X to Y` and `put X in/on Y`, the spelling before ALFWorld 0.4. Environments may share a `catalogue`.

    The observation is ALFWorld's own text. The reward is 1 when the goal is reached, which ends the game. A command
    that is not admissible changes nothing. The number of turns has no limit.

    >>> env = ALFWorldTextEnv(data="generated")
    >>> text, info = env.reset(seed=1)
    >>> info["goal"], info["available_actions"][:2]
    ('put a clean cloth in countertop.', ('go to cabinet 1', 'go to cabinet 2'))
    >>> env.step("dance")[0]
    'Nothing happens.'

    Raises:
        ConfigError: an argument is wrong, or the named folder holds no games.
        MissingExtraError: the engine is not installed.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(
        self,
        *,
        data: DataName | None = None,
        data_dir: str | None = None,
        engine: EngineName | Callable[[], Engine] = "native",
        accept_both_spellings: bool = False,
        catalogue: GameCatalogue | None = None,
    ) -> None:
        self._catalogue = catalogue or GameCatalogue(data=data, data_dir=data_dir)
        if isinstance(engine, str):
            check_engine(engine)
            engine = NativeEngine if engine == "native" else SpawnedTextWorldEngine
        self._engine = engine()
        self._accept_both = accept_both_spellings
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the game `options["task_id"]`; without an id, draw a game."""
        super().reset(seed=seed)
        task_id = (options or {}).get("task_id")
        task_id = self._draw_task() if task_id is None else str(task_id)
        self._game: Game = self._catalogue.game(task_id)
        data = self._catalogue.data(task_id) if self._engine.needs_data else {}
        self._turn: Turn = self._engine.start(self._game, data)
        self._facing, self._carrying = "", ""
        return self._turn.text, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute a command."""
        check_started(self, "_turn")
        command = self._respelled(action) if self._accept_both else action
        if command.strip() in self._turn.commands:
            self._follow(command.strip())
        self._turn = self._engine.step(command)
        won = self._turn.won
        return self._turn.text, float(won), won, False, self._info()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ConfigError(
            "A game of ALFWorld cannot be copied or pickled. Make another environment with the same options, "
            "and reset it to the same task: reset(options={'task_id': ...}); then step it through the same commands."
        )

    def close(self) -> None:
        """End the engine's process, if it has one."""
        self._engine.close()

    def _draw_task(self) -> str:
        if self._catalogue.folder is None:
            family = FAMILIES[self.np_random.integers(len(FAMILIES))]
            return games.task_id(family, int(self.np_random.integers(games.NUM_SEEDS)))
        playable = self._catalogue.listing().playable
        return playable[self.np_random.integers(len(playable))]

    def _respelled(self, command: str) -> str:
        found = _PUT.fullmatch(command.strip()) or _MOVE.fullmatch(command.strip())
        if found is None or command.strip() in self._turn.commands:
            return command
        return self._game.wording.put_command.format(o=found[1], r=found[2])

    def _follow(self, command: str) -> None:
        verb, _, rest = command.partition(" ")
        if verb == "go":
            self._facing = rest.removeprefix("to ")
        elif verb == "take":
            self._carrying = rest.split(" from ")[0]
        elif verb in ("move", "put"):
            self._carrying = ""

    def _info(self) -> dict[str, Any]:
        won = self._turn.won
        return {
            "goal": self._game.goal,
            "available_actions": self._turn.commands,
            "success": won,
            "progress": self._turn.progress,
            "outcome": "reached the goal" if won else "",
            "display": {"at": self._facing, "carrying": self._carrying},
        }


def check_engine(name: str) -> None:
    """Refuse a name that no engine has."""
    if name not in ("native", "textworld"):
        raise ConfigError(f"engine must be 'native' or 'textworld', got {name!r}.")
