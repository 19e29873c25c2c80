"""What a task of your own environment is about, read from its start: its content, and its kind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import gymnasium

from metagym.errors import UnknownNameError
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
