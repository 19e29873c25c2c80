"""Checks that an inner environment keeps its contract."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from metagym.testing.breach import breach, named, require

UNKNOWN_COMMAND = "xyzzy, the unheard-of command"


def check_text_env(
    env: gymnasium.Env[str, str], *, seed: int = 0, options: Mapping[str, Any] | None = None, num_steps: int = 30
) -> None:
    """Check that `env` is an inner environment as metagym expects it, by playing at random; it closes `env`.

    `options` goes to `reset`: with `{"task_id": ...}` the check plays that task, without it one that the
    environment draws.

    >>> from metagym.envs.gates import GatesEnv
    >>> check_text_env(GatesEnv(), seed=3, options={"task_id": "law-0007/3"})

    Raises:
        ContractError: it is none; the message says what was expected, what came, and how to mend it.
    """
    first = _play(env, seed, options, num_steps)
    _play(env, seed + 1, None, num_steps)  # what one episode leaves behind would show in the next
    again = _play(env, seed, options, num_steps)
    for turn, (before, after) in enumerate(zip(first, again, strict=False)):
        if before != after:
            remedy = "Draw from self.np_random (call super().reset(seed=seed) first), and set all state anew in reset."
            got = f"a difference at turn {turn}: {_difference(before, after)}"
            raise breach("equal episodes from equal seeds", got=got, remedy=remedy)
    require(
        len(first) == len(again),
        "episodes of equal length from equal seeds",
        got=f"{len(first)} and {len(again)} turns",
        remedy="Set all state anew in reset, the count of turns too.",
    )
    _check_unknown_command(env, seed, options)
    for number in ("first", "second"):
        try:
            env.close()
        except Exception as error:
            remedy = "Let close do nothing where there is nothing to close: it may be called twice."
            raise breach(f"the {number} close to be quiet", got=named(error), remedy=remedy) from error


def _check_unknown_command(env: gymnasium.Env[str, str], seed: int, options: Mapping[str, Any] | None) -> None:
    env.reset(seed=seed, options=None if options is None else dict(options))
    try:
        text, reward, *_ = env.step(UNKNOWN_COMMAND)
    except Exception as error:
        remedy = "Return a text that says so, the reward 0.0, and go on: a language model will try anything."
        raise breach("step to answer an unknown command in words", got=named(error), remedy=remedy) from error
    _check_text(text)
    _check_reward(reward)


def _play(
    env: gymnasium.Env[str, str], seed: int, options: Mapping[str, Any] | None, num_steps: int
) -> list[dict[str, Any]]:
    for name, space in (("observation_space", env.observation_space), ("action_space", env.action_space)):
        remedy = f"Set self.{name} = metagym.spaces.TextSpace() in __init__."
        require(isinstance(space, gymnasium.Space), f"{name} to be a Gymnasium space", got=space, remedy=remedy)
    start: tuple[Any, ...] = env.reset(seed=seed, options=None if options is None else dict(options))
    is_pair = isinstance(start, tuple) and len(start) == 2
    require(is_pair, "reset to return (observation, info)", got=start, remedy="Return both: `return text, {}`.")
    text, info = start
    rng = np.random.default_rng(seed)
    seen: list[dict[str, Any]] = [{"observation": text, **_told(info)}]
    for _ in range(num_steps):
        _check_text(text)
        remedy = "Use metagym.spaces.TextSpace(), which holds any text; Gymnasium's Text knows no blanks."
        require(text in env.observation_space, "an observation in observation_space", got=text[:80], remedy=remedy)
        available = _check_info(info)
        command = available[int(rng.integers(len(available)))] if available else UNKNOWN_COMMAND
        require(command in env.action_space, "each available action in action_space", got=command, remedy=remedy)
        result: tuple[Any, ...] = env.step(command)
        require(
            isinstance(result, tuple) and len(result) == 5,
            "step to return five values",
            got=f"{len(result)}" if isinstance(result, tuple) else result,
            remedy="Return (observation, reward, terminated, truncated, info).",
        )
        text, reward, terminated, truncated, info = result
        _check_reward(reward)
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            require(isinstance(flag, bool | np.bool_), f"{name} to be a bool", got=flag, remedy="Wrap it in bool().")
        seen.append(
            {
                "command": command,
                "observation": text,
                "reward": float(reward),
                "terminated": bool(terminated),
                "truncated": bool(truncated),
                **_told(info),
            }
        )
        if terminated or truncated:
            _check_text(text)
            _check_info(info)
            break
    return seen


def _told(info: object) -> dict[str, Any]:
    remedy = "Return a dict, {} where there is nothing to say."
    require(isinstance(info, Mapping), "info to be a dict", got=info, remedy=remedy)
    assert isinstance(info, Mapping)
    keys = ("goal", "available_actions", "success", "outcome", "events")
    return {f"info[{key!r}]": info[key] for key in keys if key in info}


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    key = next(key for key in {**before, **after} if before.get(key) != after.get(key))
    return f"{key} was {before.get(key)!r:.120}, then {after.get(key)!r:.120}"


def _check_text(text: object) -> None:
    remedy = "Write it out, or wrap the environment in metagym.TextAdapter with a render function."
    require(isinstance(text, str), "an observation to be a str", got=f"a {type(text).__name__}", remedy=remedy)
    assert isinstance(text, str)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        remedy = "Replace lone surrogates: text.encode('utf-8', 'replace').decode()."
        raise breach("an observation that UTF-8 can encode", got=str(error), remedy=remedy) from error


def _check_reward(reward: Any) -> None:
    try:
        is_finite = math.isfinite(float(reward))
    except (TypeError, ValueError):
        is_finite = False
    require(is_finite, "a finite reward", got=reward, remedy="Return a float, 0.0 where nothing was earned.")


def _check_info(info: Mapping[str, Any]) -> Sequence[str]:
    goal, available, success = info.get("goal", ""), info.get("available_actions", ()), info.get("success")
    events, outcome = info.get("events", ()), info.get("outcome", "")
    remedy = "Leave the key out where there is no goal."
    require(isinstance(goal, str), "info['goal'] to be a str", got=goal, remedy=remedy)
    remedy = "Write tuple(commands); leave the key out where any text may be tried."
    require(_are_texts(available), "info['available_actions'] to be a tuple of str", got=available, remedy=remedy)
    remedy = "Wrap it in bool(); leave the key out where success is not known."
    is_flag = success is None or isinstance(success, bool)
    require(is_flag, "info['success'] to be a bool", got=success, remedy=remedy)
    remedy = "Write a tuple of the things that happened by themselves, or leave the key out."
    require(_are_texts(events), "info['events'] to be a tuple of str", got=events, remedy=remedy)
    remedy = "Say the end in words, such as 'fell into a hole', or leave the key out."
    require(isinstance(outcome, str), "info['outcome'] to be a str", got=outcome, remedy=remedy)
    try:
        json.dumps(info.get("display"), allow_nan=False)
    except (TypeError, ValueError) as error:
        remedy = "Turn arrays into lists (array.tolist()) and NaN into None."
        raise breach("info['display'] to be JSON", got=str(error), remedy=remedy) from error
    return tuple(available)


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
