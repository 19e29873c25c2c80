"""MiniHack's inner environment, a plain `gymnasium.Env[str, str]`: the observation is a text, the action a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium

from metagym.envs.minihack.commands import PREFIXES, commands_for
from metagym.envs.minihack.engine import GamePool, NetHackGame, Outcome
from metagym.envs.minihack.families import DEFAULT_FAMILIES, check_family, expand_families, goal_of
from metagym.envs.minihack.questions import Question, read_question
from metagym.envs.minihack.screen import DEFAULT_PARTS, Screen, check_parts, render_display, render_text
from metagym.errors import ConfigError, UnknownNameError
from metagym.spaces import TextSpace
from metagym.tasks.seeds import asked_task

MAX_AUTO_ANSWERS = 50
"""The limit of automatic answers in one step: NetHack may ask again for ever."""


class MiniHackTextEnv(gymnasium.Env[str, str]):
    """MiniHack's levels in text. The same seed gives the same episode in any process.

    `reset(options={"task_id": "MiniHack-Room-5x5-v0/123"})` names a level by family and seed; without a task id,
    `np_random` draws one of `families` and a seed. While a menu or a question is open, its answers are the available
    actions. An unknown command costs a step and does not reach NetHack; the text says so. An episode is truncated at
    MiniHack's own limit, counted in the agent's steps. It is not thread-safe.

    >>> env = MiniHackTextEnv(parts=["map"])
    >>> text, info = env.reset(options={"task_id": "MiniHack-Room-5x5-v0/1"})
    >>> print(text)
    Map (rows 9-13, columns 36-40):
    @....
    .....
    .....
    .....
    ....>
    >>> info["goal"], info["available_actions"][:2]
    ('Reach the stairs down (>).', ('step n', 'step e'))
    >>> env.close()
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}

    def __init__(
        self,
        *,
        families: Sequence[str] = DEFAULT_FAMILIES,
        parts: Sequence[str] = DEFAULT_PARTS,
        goal: Literal["family", "none", "paper_task_line"] = "family",
        rewards: Literal["success", "minihack"] = "success",
        auto_answer: bool = False,
        display: bool = True,
        render_mode: str | None = None,
        pool: GamePool | None = None,
    ) -> None:
        """Make the environment. The first game is made at the first reset.

        Args:
            families: ids and groups that a reset without a task id draws from.
            parts: the parts of the text, of `message, map, whole map, cursor, inventory, status, legend`;
                `map` is cropped to the known squares.
            goal: `family` puts the family's goal in words into `info["goal"]`, `none` leaves it empty, and
                `paper_task_line` `play ID`, as in the paper's release. No other option shows an id.
            rewards: `success` is 1 for success and else 0; `minihack` is MiniHack's own rewards and penalties.
            auto_answer: answer menus and questions automatically and list the answers in `info["events"]`.
            display: put the map and its colours into `info["display"]`, for viewers.
            render_mode: None or `ansi`.
            pool: the pool that games are taken from and given back to; environments may share it.
        """
        self._families = expand_families(families)
        if render_mode not in (None, "ansi"):
            raise UnknownNameError.of("render_mode", render_mode, ("ansi",))
        self.render_mode = render_mode
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self._parts = check_text_options(parts, goal, rewards)
        self._goal_kind, self._rewards = goal, rewards
        self._auto_answer, self._display = auto_answer, display
        self._owns_pool = pool is None
        self._pool = GamePool() if pool is None else pool
        self._game: NetHackGame | None = None
        self._commands: Mapping[str, int] = {}
        self._is_over = True
        self.screen: Screen
        """The current screen, for viewers and tests."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the level `options["task_id"]`; without an id, draw one from `np_random`."""
        super().reset(seed=seed)
        family, level_seed = asked_task(options, self.np_random, self._families)
        game = self._game = self._take_game(check_family(family))
        game.reads_colors, game.reads_descriptions = self._display, "legend" in self._parts
        game.start(level_seed)
        goals = {"family": goal_of(family), "none": "", "paper_task_line": f"play {family}"}
        self._goal, self._limit = goals[self._goal_kind], game.max_steps
        self._num_steps, self._is_over, self._feedback = 0, False, ""
        self._read(game.screen())
        return self._text(), self._info((), success=False)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute a command or an answer by its name. Letter case and extra white space do not matter."""
        if self._is_over or self._game is None:
            raise gymnasium.error.ResetNeeded("The episode is over, or did not start: call reset() before step().")
        self._num_steps += 1
        keys = self._keys_for(action)
        outcomes: list[Outcome] = []
        events: list[str] = []
        self._feedback = ""
        if keys is None:
            shown = action if len(action) <= 60 else action[:57] + "..."
            available = ", ".join(self._available)
            self._feedback = f"Unknown command {shown!r}: nothing was done. Available: {available}."
        else:
            outcomes = self._press(keys)
            while self._auto_answer and self._question and not outcomes[-1].is_over and len(events) < MAX_AUTO_ANSWERS:
                asked = self.screen.message or f"({self._question.kind})"
                events.append(f"{asked} -> {self._question.default}")
                outcomes += self._press(self._question.answers[self._question.default])
        terminated = bool(outcomes) and outcomes[-1].is_over
        success = bool(outcomes) and outcomes[-1].is_success
        truncated = not terminated and self._num_steps >= self._limit
        self._is_over = terminated or truncated
        reward = sum(o.reward for o in outcomes) if self._rewards == "minihack" else float(success)
        info = self._info(tuple(events), success=success)
        if self._is_over:
            info["outcome"] = self._describe_end(outcomes, truncated=truncated)
        return self._text(), reward, terminated, truncated, info

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ConfigError(
            "A game of NetHack cannot be copied or pickled. Make another environment with the same options, "
            "and reset it to the same task: reset(options={'task_id': ...}); then step it through the same commands."
        )

    def render(self) -> str | None:  # type: ignore[override, unused-ignore]
        """Return the text of the last screen if the render mode is `ansi`."""
        return self._text() if self.render_mode == "ansi" and self._game is not None else None

    def close(self) -> None:
        """Give the game back, and close the pool if it is the environment's own. Calling it twice is fine."""
        if self._game is not None:
            self._pool.give_back(self._game)
            self._game = None
        if self._owns_pool:
            self._pool.close()
        self._is_over = True

    def _take_game(self, family: str) -> NetHackGame:
        if self._game is not None:
            if self._game.family == family and self._game.is_usable:
                return self._game
            self._pool.give_back(self._game)
            self._game = None
        game = self._pool.take(family)
        self._commands = commands_for(game.keys)
        return game

    def _read(self, screen: Screen, *, after_prefix: bool = False, in_position: bool = False) -> None:
        self.screen = screen
        self._question: Question | None = read_question(screen, after_prefix=after_prefix, in_position=in_position)
        self._available = tuple(self._commands if self._question is None else self._question.answers)

    def _keys_for(self, action: str) -> tuple[int, ...] | None:
        if action not in self._available:
            folded = " ".join(action.split()).casefold()
            action = next((name for name in self._available if name.casefold() == folded), action)
        if self._question is not None:
            return self._question.keys_for(action)
        return (self._commands[action],) if action in self._commands else None

    def _press(self, keys: tuple[int, ...]) -> list[Outcome]:
        assert self._game is not None
        outcomes: list[Outcome] = []
        had_question = self._question
        for key in keys:
            outcomes.append(self._game.press(key))
            if outcomes[-1].is_over:
                break
        moves_cursor = had_question is not None and had_question.kind == "position" and keys[-1] not in (27, ord("."))
        after_prefix = had_question is None and keys[-1] in PREFIXES
        self._read(self._game.screen(), after_prefix=after_prefix, in_position=moves_cursor)
        return outcomes

    def _describe_end(self, outcomes: Sequence[Outcome], *, truncated: bool) -> str:
        assert self._game is not None
        if truncated:
            return f"not finished within {self._limit} steps"
        if outcomes[-1].is_success:
            return "reached the goal"
        cause = self._game.cause_of_end()
        if "starvation" in cause:
            return "starved"
        if cause:
            return f"died: {cause}"
        return "lost" if outcomes[-1].is_death else "failed"

    def _text(self) -> str:
        text = render_text(self.screen, parts=self._parts)
        return f"{self._feedback}\n{text}" if self._feedback else text

    def _info(self, events: tuple[str, ...], *, success: bool) -> dict[str, Any]:
        info: dict[str, Any] = {
            "goal": self._goal,
            "available_actions": self._available,
            "success": success,
            "events": events,
        }
        if self._display:
            info["display"] = render_display(self.screen)
        return info


def check_text_options(parts: Sequence[str], goal: str, rewards: str) -> tuple[str, ...]:
    """Return the parts in their order, or raise ConfigError for a name that an option does not take."""
    if goal not in (goals := ("family", "none", "paper_task_line")):
        raise UnknownNameError.of("goal", goal, goals)
    if rewards not in (kinds := ("success", "minihack")):
        raise UnknownNameError.of("rewards", rewards, kinds)
    return check_parts(parts)
