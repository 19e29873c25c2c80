"""What a task of your own environment is about, read from its start: its content, and its kind."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from metagym.errors import ConfigError, UnknownNameError
from metagym.types import Task

TextEnv = gymnasium.Env[str, str]
ReadText = Callable[[TextEnv, Task], str]
"""Reads a text about a task: its content, or its kind."""


def close_quietly(env: TextEnv | None) -> None:
    """Close `env`, and ignore errors, even `sys.exit`: nothing more is read from it."""
    with contextlib.suppress(Exception, SystemExit):
        if env is not None:
            env.close()


def first_observation(env: TextEnv, task: Task) -> str:
    """Return the first text of `task`: the default content of a task."""
    return env.reset(seed=task.seed, options={"task_id": task.id})[0]


def kind_in_info(key: str, env: TextEnv, task: Task) -> str:
    """Return the kind of `task`: the value of `key` in the `info` that `reset` returns."""
    info = env.reset(seed=task.seed, options={"task_id": task.id})[1]
    if key not in info:
        raise UnknownNameError.of("key of info", key, info, remedy="Let reset return the kind of the task there.")
    return str(info[key])


class StartReader:
    """Reads about tasks from the starts of an environment, which is made when it is first needed."""

    def __init__(self, make_env: Callable[[], TextEnv]) -> None:
        self._make_env = make_env
        self._env: TextEnv | None = None

    def content(self, read: ReadText, family: str, seed: int) -> Any:
        """Return the content of a task: a text, or another JSON value."""
        value = self._read(read, family, seed)
        with contextlib.suppress(TypeError, ValueError):
            if isinstance(value, np.generic | np.ndarray):
                value = value.tolist()
            if value is not None and json.dumps(value):
                return value
        raise ConfigError(
            f"Expected digest(env, task) to return the content of {family}/{seed} as a text, got {value!r:.80} "
            f"({type(value).__name__}). Return a text, such as str(task.seed)."
        )

    def kind(self, read: ReadText, family: str, seed: int) -> str:
        """Return the kind of a task within its family."""
        value = self._read(read, family, seed)
        if not isinstance(value, str):
            raise ConfigError(
                f"Expected kind(env, task) to return the kind of {family}/{seed} as a text, got {value!r:.80} "
                f"({type(value).__name__}). Return str(...) of it."
            )
        return value

    def close(self) -> None:
        """Close the environment; it is made again if it is needed."""
        env, self._env = self._env, None
        close_quietly(env)

    def _read(self, read: ReadText, family: str, seed: int) -> Any:
        if self._env is None:
            self._env = self._make_env()
        try:
            return read(self._env, Task(id=f"{family}/{seed}", family=family, seed=seed))
        except Exception:
            self.close()  # it may be broken
            raise
