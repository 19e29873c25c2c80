"""Checks that an inner environment keeps its contract."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from metagym.errors import ContractError

UNKNOWN_COMMAND = "xyzzy, the unheard-of command"


def check_text_env(env: gymnasium.Env[str, str], *, seed: int = 0, num_steps: int = 30) -> None:
    """Check that `env` is an inner environment as metagym expects it, by playing at random; it closes `env`.

    Raises:
        ContractError: it is none; the message says which rule was broken, and how to keep it.
    """
    first = _play(env, seed, num_steps)
    again = _play(env, seed, num_steps)
    for turn, (before, after) in enumerate(zip(first, again, strict=False)):
        _require(before == after, f"equal seeds must give equal episodes, but turn {turn} differs: {before} / {after}")
    _require(len(first) == len(again), "equal seeds must give episodes of equal length")

    env.reset(seed=seed)
    try:
        text, reward, *_ = env.step(UNKNOWN_COMMAND)
    except Exception as error:
        message = f"step must answer an unknown command in words and go on; it raised {type(error).__name__}: {error}"
        raise ContractError(message) from error
    _check_text(text)
    _require(math.isfinite(float(reward)), f"the reward must be finite, got {reward!r}")
    env.close()
    env.close()


def _play(env: gymnasium.Env[str, str], seed: int, num_steps: int) -> list[tuple[Any, ...]]:
    start: tuple[Any, ...] = env.reset(seed=seed)
    _require(isinstance(start, tuple) and len(start) == 2, f"reset must return (observation, info), got {start!r}")
    text, info = start
    seen: list[tuple[Any, ...]] = []
    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        _check_text(text)
        _require(text in env.observation_space, f"the observation {text[:80]!r} must be in observation_space")
        available = _check_info(info)
        command = available[int(rng.integers(len(available)))] if available else UNKNOWN_COMMAND
        _require(command in env.action_space, f"the available action {command!r} must be in action_space")
        result: tuple[Any, ...] = env.step(command)
        _require(len(result) == 5, f"step must return five values, got {len(result)}")
        text, reward, terminated, truncated, info = result
        _require(math.isfinite(float(reward)), f"the reward must be finite, got {reward!r}")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            _require(isinstance(flag, bool | np.bool_), f"{name} must be a bool, got {flag!r}")
        seen.append((command, text, float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            _check_text(text)
            break
    return seen


def _check_text(text: object) -> None:
    _require(isinstance(text, str), f"an observation must be a str, got {type(text).__name__}: use TextAdapter")
    assert isinstance(text, str)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ContractError(f"An observation must encode as UTF-8: {error}. Replace lone surrogates.") from error


def _check_info(info: Mapping[str, Any]) -> Sequence[str]:
    goal, available = info.get("goal", ""), info.get("available_actions", ())
    _require(isinstance(goal, str), f"info['goal'] must be a str, got {goal!r}")
    is_texts = isinstance(available, tuple) and all(isinstance(item, str) for item in available)
    _require(is_texts, f"info['available_actions'] must be a tuple of str, got {available!r}")
    success = info.get("success")
    _require(success is None or isinstance(success, bool), f"info['success'] must be a bool, got {success!r}")
    try:
        json.dumps(info.get("display"))
    except (TypeError, ValueError) as error:
        raise ContractError(f"info['display'] must be JSON: {error}. Turn arrays into lists.") from error
    return tuple(available)


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ContractError(f"The environment breaks the contract of inner environments: {rule}.")
