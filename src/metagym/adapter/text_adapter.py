"""TextAdapter: makes a text environment of any Gymnasium environment, with a render function and action names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium

from metagym.errors import ConfigError
from metagym.spaces import TextSpace

Render = Callable[[Any, dict[str, Any]], str]
"""(observation, info) -> text"""


class TextAdapter(gymnasium.Env[str, str]):
    """Text observations and text actions for an environment that has others.

    `actions` names the actions: a mapping from command to action, or a sequence of commands for the actions 0, 1, ...
    An unknown command is answered by a text, earns 0, and does not step the environment. An episode that ends is a
    success if `success(reward, info)` says so: it gets the last reward and the last info, with the flags of the step as
    `info["terminated"]` and `info["truncated"]`, so that a time limit need not be a success. With `success="return"`
    the return is the score. By default a terminated episode is a success if its last reward is positive. Then no
    earlier reward may be positive: such an environment (CartPole) pays for each step, and a failure would count as a
    success.

    >>> import gymnasium
    >>> env = TextAdapter(
    ...     gymnasium.make("FrozenLake-v1", is_slippery=False),
    ...     actions=["left", "down", "right", "up"],
    ...     render=lambda observation, info: f"You are on field {observation}.",
    ... )
    >>> env.reset(seed=0)[0], env.step("right")[0], env.step("fly")[0]
    ('You are on field 0.', 'You are on field 1.', "Unknown command 'fly'. You are on field 1.")
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        actions: Mapping[str, Any] | Sequence[str],
        render: Render,
        goal: str = "",
        success: Callable[[float, dict[str, Any]], bool] | Literal["return"] | None = None,
    ) -> None:
        commands = actions if isinstance(actions, Mapping) else {name: i for i, name in enumerate(actions)}
        if not commands:
            raise ConfigError("actions must name at least one action, got nothing.")
        if len(commands) < len(actions) or not all(isinstance(name, str) and name.strip() for name in commands):
            raise ConfigError(f"Expected different names as actions, without blank ones, got {list(actions)}.")
        if success is not None and success != "return" and not callable(success):
            raise ConfigError(f"Expected success as a function (reward, info) or 'return', got {success!r:.80}.")
        for command, action in commands.items():
            if action not in env.action_space:
                raise ConfigError(f"The action {action!r} of {command!r} is not in {env.action_space}.")
        self.env = env
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self.metadata = {"render_modes": [], "render_fps": 1}
        self._commands, self._render, self._goal = dict(commands), render, goal
        self._success = success
        self._text = ""
        self._has_paid = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode; `task_id` in `options` is for task sets and is not passed on."""
        super().reset(seed=seed)
        passed = {name: value for name, value in (options or {}).items() if name != "task_id"}
        observation, info = self.env.reset(seed=seed, options=passed or None)
        self._text, self._has_paid = self._render(observation, info), False
        return self._text, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute a command."""
        if action not in self._commands:
            return f"Unknown command {action!r}. {self._text}", 0.0, False, False, self._info()
        observation, reward, terminated, truncated, info = self.env.step(self._commands[action])
        self._text = self._render(observation, info)
        if callable(self._success):
            about = {**info, "terminated": bool(terminated), "truncated": bool(truncated)}
            success = bool((terminated or truncated) and self._success(float(reward), about))
        else:  # a reward at a time limit need not be a success
            success = bool(terminated and float(reward) > 0)
        self._check_paid(float(reward))
        return self._text, float(reward), terminated, truncated, self._info(success)

    def close(self) -> None:
        """Close the environment inside."""
        self.env.close()

    def _check_paid(self, reward: float) -> None:
        if self._has_paid and self._success is None:
            raise ConfigError(
                f"Expected {type(self.env.unwrapped).__name__} to give a positive reward in the last step only, got "
                "one before it, so that the last reward does not mean success. Pass success=lambda reward, info: ..., "
                "or success='return' if the return is the score."
            )
        self._has_paid = self._has_paid or reward > 0

    def _info(self, success: bool = False) -> dict[str, Any]:
        info = {"goal": self._goal, "available_actions": tuple(self._commands)}
        return info if self._success == "return" else info | {"success": success}
