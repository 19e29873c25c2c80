"""Checks that an inner environment keeps its contract, and how all checks report a broken promise."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from metagym.errors import ContractError, TasksExhaustedError, with_place
from metagym.tools import ToolCall, random_call, tools_problem

UNKNOWN_COMMAND = "xyzzy, the unheard-of command"
_UNKNOWN_COMMANDS = (UNKNOWN_COMMAND, "öffne die Tür 走", f"{UNKNOWN_COMMAND}!")
TextEnv = gymnasium.Env[str, str]
Options = Mapping[str, Any] | None
_INFO = {
    "goal": ("a str", "Leave the key out if there is no goal."),
    "available_actions": ("a tuple of str", "Write tuple(commands); leave the key out if any text may be tried."),
    "success": ("a bool", "Wrap it in bool(); leave the key out if success is not known."),
    "progress": (
        "a number from 0 to 1",
        "Return the share of the goal that is reached; leave the key out if not known.",
    ),
    "events": ("a tuple of str", "Write a tuple of the events that no action caused, or leave the key out."),
    "tools": ("a tuple of schemas", "Make them with metagym.tools.tool_schema, or subclass metagym.ToolEnv."),
    "outcome": ("a str", "Describe the end in words, such as 'fell into a hole', or leave the key out."),
}
"""The keys of `info` that equal episodes share: the type of the value, and the remedy."""
_SUCCESS = "info['success']"
_KINDS: Mapping[str, Any] = {
    "a str": str,
    "a bool": bool | None,
    "a tuple of str": tuple,
    "a tuple of schemas": tuple,
    "a number from 0 to 1": float | int | None,
}


def check_text_env(env: TextEnv, *, seed: int = 0, options: Options = None, num_steps: int = 30) -> None:
    """Raise ContractError unless `env` is an inner environment as metagym expects it, by random play; then close it.

    The message names the expected and the actual value, and the remedy. `options` goes to `reset`: with
    `{"task_id": ...}` the check plays that task, without it a task that the environment draws.

    >>> from metagym.envs.gates import GatesEnv
    >>> check_text_env(GatesEnv(), seed=3, options={"task_id": "law-0007/3"})
    """
    first = _play(env, seed, options, num_steps)
    other = _play(env, seed + 1, None, num_steps)  # state that one episode leaves would change the next one
    again = _play(env, seed, options, num_steps)
    remedy = "Draw from self.np_random (call super().reset(seed=seed) first), and reset all state in reset."
    for turn, (before, after) in enumerate(zip(first, again, strict=False)):
        got = f"a difference at turn {turn}: {_difference(before, after)}"
        expect(before == after, "equal episodes from equal seeds", got=got, remedy=remedy)
    got = f"{len(first)} and {len(again)} turns"
    remedy = "Reset all state in reset, the count of turns too."
    expect(len(first) == len(again), "episodes of equal length from equal seeds", got=got, remedy=remedy)
    _check_success(first, other)
    _check_unknown_commands(env, seed, options)
    _, info = _reset(env, seed, options)
    if info.get("tools"):
        remedy = "Return a text that says so, with the reward 0.0: a call of a missing tool is an unknown command."
        with expecting("step to answer a call of an unknown tool in words", remedy=remedy):
            text, *_ = env.step(ToolCall("unheard-of", {"x": 1}).text)
        _check_text(text)
    for number in ("first", "second"):
        remedy = "Let close do nothing if there is nothing to close: it may be called twice."
        with expecting(f"the {number} close to raise nothing", remedy=remedy):
            env.close()


def _check_success(*episodes: Sequence[Mapping[str, Any]]) -> None:
    has_any = any(turn.get(_SUCCESS) is not None for turns in episodes for turn in turns)
    for turns in episodes:
        episode_return = 0.0
        for number, turn in enumerate(turns):
            episode_return += turn.get("reward", 0.0)
            ends = bool(turn.get("terminated") or turn.get("truncated"))
            expect_success(turn.get(_SUCCESS), has_any, ends, episode_return, f"after step {number}")


def expect_success(success: bool | None, has_any: bool, ends: bool, episode_return: float, place: str) -> None:
    """Report an episode without success whose return would be averaged with the successes of others."""
    remedy = (
        "Return False in reset and in each step until the goal is reached: an episode may end at any turn, and without "
        "success its return would count beside the 0.0 and 1.0 of others."
    )
    got = f"no success {place}{', at the end of the episode' if ends else ''}, with the return {episode_return:.4g}"
    is_mixed = has_any and success is None and (ends or episode_return != 0.0)
    expect(not is_mixed, "info['success'] in each info, or in no info", got=got, remedy=remedy)


def _check_unknown_commands(env: TextEnv, seed: int, options: Options) -> None:
    rng = np.random.default_rng(seed)
    remedy = "Return a text that says so, with the reward 0.0, and continue: a language model tries anything."
    info: Any = {}
    ended = True
    for command in _UNKNOWN_COMMANDS:
        if ended:
            _, info = _reset(env, seed, options)
        available = _check_info(info)
        with expecting("step to answer an unknown command in words", remedy=remedy):
            text, reward, terminated, truncated, info = env.step(command)
        _check_text(text)
        _check_reward(reward)
        earns = float(reward) > 0 or bool(info.get("success"))
        expect(not (available and earns), "an unknown command to earn nothing", got=(reward, info), remedy=remedy)
        ended = bool(terminated or truncated)
        if available and not ended:  # so that the next one comes later in the episode
            *_, terminated, truncated, info = env.step(available[int(rng.integers(len(available)))])
            ended = bool(terminated or truncated)


def expect(holds: bool, expected: str, *, got: object, remedy: str) -> None:
    """Raise ContractError unless `holds`; the message names the expected and the actual value, and the remedy."""
    if not holds:
        raise _report(expected, got, remedy)


@contextlib.contextmanager
def expecting(expected: str, *, remedy: str, errors: type[Exception] = Exception) -> Iterator[None]:
    """Report an error of the kind `errors` that the body raises as a broken promise."""
    try:
        yield
    except (ContractError, TasksExhaustedError):
        raise  # its own message names the mistake
    except errors as error:
        raise _report(expected, with_place(error), remedy) from error


def _report(expected: str, got: object, remedy: str) -> ContractError:
    shown = got if isinstance(got, str) else repr(got)
    cut = shown if len(shown) <= 400 else f"{shown[:400]} ..."
    return ContractError(f"The environment breaks its contract: expected {expected}, got {cut}. {remedy}")


def _reset(env: TextEnv, seed: int, options: Options) -> tuple[Any, Any]:
    call = f"reset(seed={seed}, options={options!r})"
    remedy = "Make sure that reset starts every task that the task set draws, and draws one itself without a task_id."
    with expecting(f"{call} to start an episode", remedy=remedy):
        start: Any = env.reset(seed=seed, options=None if options is None else dict(options))
    is_pair = isinstance(start, tuple) and len(start) == 2
    expect(is_pair, "reset to return (observation, info)", got=start, remedy="Return both: `return text, {}`.")
    return start[0], start[1]


def _play(env: TextEnv, seed: int, options: Options, num_steps: int) -> list[dict[str, Any]]:
    for name in ("observation_space", "action_space"):
        remedy = f"Set self.{name} = metagym.spaces.TextSpace() in __init__."
        with expecting(f"{name} to be a Gymnasium space", remedy=remedy):
            space = getattr(env, name)
        expect(isinstance(space, gymnasium.Space), f"{name} to be a Gymnasium space", got=space, remedy=remedy)
    text, info = _reset(env, seed, options)
    rng = np.random.default_rng(seed)
    seen: list[dict[str, Any]] = [{"observation": text, **_contents(info)}]
    tools: Sequence[Any] = ()
    for turn in range(num_steps):
        _check_text(text)
        remedy = "Use metagym.spaces.TextSpace(), which holds any text; Gymnasium's Text has no blanks."
        expect(text in env.observation_space, "an observation in observation_space", got=text[:80], remedy=remedy)
        available = _check_info(info)
        tools = info.get("tools", tools)
        # After a call or two, the text ends the turn of an agent with tools.
        if tools and rng.random() < 0.9:
            command = random_call(tools, rng).text
        else:
            command = available[int(rng.integers(len(available)))] if available else UNKNOWN_COMMAND
        expect(command in env.action_space, "each available action in action_space", got=command, remedy=remedy)
        offered = "an available action" if available else "a command that the environment does not know"
        remedy = f"The command was {offered}. Answer every command in words, and raise nothing."
        with expecting(f"step({command!r}) to return, as step {turn + 1} of the episode", remedy=remedy):
            result: tuple[Any, ...] = env.step(command)
        is_whole = isinstance(result, tuple) and len(result) == 5
        got = f"{len(result)}" if isinstance(result, tuple) else result
        remedy = "Return (observation, reward, terminated, truncated, info)."
        expect(is_whole, "step to return five values", got=got, remedy=remedy)
        text, reward, terminated, truncated, info = result
        _check_reward(reward)
        ends = {"terminated": terminated, "truncated": truncated}
        for name, flag in ends.items():
            expect(isinstance(flag, bool | np.bool_), f"{name} to be a bool", got=flag, remedy="Wrap it in bool().")
        seen.append({"command": command, "observation": text, "reward": float(reward), **ends, **_contents(info)})
        if terminated or truncated:
            _check_text(text)
            _check_info(info)
            break
    reports = ["info['progress']" in turn for turn in seen]
    got = f"it from {'reset' if reports[0] else 'some steps'} only"
    remedy = "Return 0.0 in reset and in each step until something is reached: an episode may end at any turn."
    expect(len(set(reports)) == 1, "info['progress'] in each info, or in no info", got=got, remedy=remedy)
    return seen


def _contents(info: Any) -> dict[str, Any]:
    remedy = "Return a dict, {} if there is nothing to report."
    expect(isinstance(info, Mapping), "info to be a dict", got=info, remedy=remedy)
    return {f"info[{key!r}]": info[key] for key in _INFO if key in info}


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    keys = (key for key in {**before, **after} if before.get(key) != after.get(key))
    return "; ".join(f"{key} was {before.get(key)!r:.120}, then {after.get(key)!r:.120}" for key in keys)


def _check_text(text: object) -> None:
    remedy = "Write it out, or wrap the environment in metagym.TextAdapter with a render function."
    expect(isinstance(text, str), "an observation to be a str", got=f"a {type(text).__name__}", remedy=remedy)
    remedy = "Replace lone surrogates: text.encode('utf-8', 'replace').decode()."
    with expecting("an observation that UTF-8 can encode", remedy=remedy, errors=UnicodeEncodeError):
        str(text).encode()


def _check_reward(reward: Any) -> None:
    try:
        is_finite = math.isfinite(float(reward))
    except (TypeError, ValueError):
        is_finite = False
    expect(is_finite, "a finite reward", got=reward, remedy="Return a float, 0.0 if nothing was earned.")


def _check_info(info: Mapping[str, Any]) -> Sequence[str]:
    for key, (kind, remedy) in _INFO.items():
        value = info.get(key)
        texts = value if isinstance(value, tuple) and key != "tools" else ()
        is_legal = isinstance(value, _KINDS[kind]) and all(isinstance(text, str) for text in texts)
        expect(is_legal or key not in info, f"info[{key!r}] to be {kind}", got=value, remedy=remedy)
    available = info.get("available_actions", ())
    remedy = "Leave it out: an agent cannot write it."
    expect(all(text.strip() for text in available), "no blank action", got=available, remedy=remedy)
    kind, remedy = _INFO["progress"]
    progress = info.get("progress")
    expect(progress is None or 0 <= progress <= 1, f"info['progress'] to be {kind}", got=progress, remedy=remedy)
    problem = tools_problem(info.get("tools", ()))
    expect(not problem, "info['tools'] to be schemas of the OpenAI protocol", got=problem, remedy=_INFO["tools"][1])
    remedy = "Turn arrays into lists (array.tolist()) and NaN into None."
    with expecting("info['display'] to be JSON", remedy=remedy):
        json.dumps(info.get("display"), allow_nan=False)
    return tuple(available)
