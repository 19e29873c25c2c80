"""Text games on a Java machine: the inner environment, the task set and the expert that such packages share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple

import gymnasium
import numpy as np

from metagym.envs.java import JavaMachine
from metagym.errors import UnknownNameError, check_started
from metagym.spaces import TextSpace
from metagym.tasks import SeededTaskSet
from metagym.tasks.seeds import named_families, read_seeded_id
from metagym.types import Action, Episode, Observation, Step, Task

Folds = Mapping[str, Mapping[str, range]]
"""The seeds of each role, by family; the package divides its games like this."""
NO_ROLE: Final = "none"


class GameTurn(NamedTuple):
    """The output of a game after a command."""

    text: str
    score: float
    """The game's own score, of at most 1."""
    is_success: bool
    is_failure: bool
    actions: tuple[str, ...] | None
    """The commands that the game accepts now; None if it does not list them."""


class JavaGame(ABC):
    """The games of a package, one at a time, on its own Java machine."""

    machine: JavaMachine

    @abstractmethod
    def start(self, family: str, seed: int, *, with_gold_path: bool = False) -> GameTurn:
        """Start the game of a family and a seed, and return the first turn."""

    @abstractmethod
    def step(self, command: str) -> GameTurn:
        """Execute a command, and return the turn."""

    @abstractmethod
    def goal(self) -> str:
        """Return the task in words."""

    @abstractmethod
    def gold_path(self) -> tuple[str, ...]:
        """Return commands that win the game, if it was started with them."""


def fold_of(folds: Folds, family: str, seed: int) -> str:
    """Return the role whose fold a seed is in."""
    if family not in folds:
        raise UnknownNameError.of("family", family, folds)
    role = next((role for role, seeds in folds[family].items() if seed in seeds), None)
    if role is None:
        raise UnknownNameError(f"Unknown seed {seed}: expected one of the folds {list(folds[family].values())}.")
    return role


class JavaGameEnv(gymnasium.Env[str, str]):
    """The games of a package. The same task gives the same episode in any process.

    `options={"task_id": "family/seed"}` names a game; without it, `np_random` draws one of `families` and a seed for
    training. The reward is the gain in the game's score, which is also the progress.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(
        self,
        make_game: Callable[[], JavaGame],
        folds: Folds,
        families: Sequence[str],
        groups: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self._make_game, self._folds = make_game, folds
        self._families = named_families(families, folds, groups)
        self._game: JavaGame | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the game `options["task_id"]` (`family/seed`); without an id, draw one."""
        super().reset(seed=seed)
        task_id = (options or {}).get("task_id")
        if task_id is None:
            family = self._families[int(self.np_random.integers(len(self._families)))]
            task_id = f"{family}/{self.np_random.choice(self._folds[family]['train'])}"
        self._game = self._game or self._make_game()
        turn = self._game.start(*read_seeded_id(task_id))
        self._score, self._goal = 0.0, self._game.goal()
        return turn.text, self._info(turn)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute a command; the game answers an unknown one in words."""
        check_started(self, "_game")
        assert self._game is not None
        turn = self._game.step(action)
        before, self._score = self._score, turn.score
        return turn.text, self._score - before, turn.is_success or turn.is_failure, False, self._info(turn)

    def close(self) -> None:
        """Let go of the game; its Java machine ends with it."""
        self._game = None

    def _info(self, turn: GameTurn) -> dict[str, Any]:
        info = {"goal": self._goal, "success": turn.is_success, "progress": min(1.0, max(0.0, turn.score))}
        if turn.is_success or turn.is_failure:
            outcome = "the task is done" if turn.is_success else "the task has failed"
            return info | {"available_actions": (), "outcome": outcome}
        return info if turn.actions is None else info | {"available_actions": turn.actions}


class FoldedTaskSet(SeededTaskSet):
    """The games of a package with its own folds; `content` maps a family and a seed to the game's content."""

    max_rejections = None  # the folds are finite

    def __init__(
        self,
        folds: Folds,
        content: Callable[[str, int], str],
        *,
        groups: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._folds = folds
        self._known: dict[tuple[str, int], Task] = {}
        super().__init__(folds, content, groups=groups)

    def role(self, task: Task, fold: str) -> str:
        """Return the role of a task in this fold; the task comes with the role that its content's digest gives."""
        return fold

    def candidates(self, family: str, rng: np.random.Generator) -> Iterator[Task]:
        """Yield the games of all folds once each, shuffled."""
        seeds = [seed for fold in self._folds[family].values() for seed in fold]
        return (self._task(family, seeds[index]) for index in rng.permutation(len(seeds)))

    def _task(self, family: str, seed: int) -> Task:
        if (family, seed) not in self._known:  # to read a content may take a while, and draws look at it again
            fold, task = fold_of(self._folds, family, seed), super()._task(family, seed)
            self._known[family, seed] = task.model_copy(update={"split": self.role(task, fold)})
        return self._known[family, seed]


class GoldPathExpert:
    """Plays the gold path of the task: the upper bound. It reads no text."""

    scripted = True

    def __init__(self, make_game: Callable[[], JavaGame]) -> None:
        self.fingerprint = {"kind": type(self).__name__}
        self._make_game = make_game
        self._game: JavaGame | None = None
        self._paths: dict[str, tuple[str, ...]] = {}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next command of the gold path."""
        task_id = episode.task.id
        if task_id not in self._paths:
            self._game = self._game or self._make_game()
            self._game.start(*read_seeded_id(task_id), with_gold_path=True)
            self._paths[task_id] = self._game.gold_path()
        path = self._paths[task_id]
        if len(steps) >= len(path):
            return Action(text=None, problem="The gold path has no further command.")
        return Action(text=path[len(steps)], thought="The gold path says so.")

    async def aclose(self) -> None:
        """Let go of the game; its Java machine ends with it. The actor may play again."""
        self._game = None
