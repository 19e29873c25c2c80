"""Inner environments in this process, pooled and reused; their results are checked and made plain.

Only the keys of `info` that metagym reads are kept, so that an odd value in any other key harms nothing.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import numpy as np

from metagym.errors import InnerEnvError, in_words
from metagym.tools import tools_problem
from metagym.types import Task
from metagym.types.plain_values import clean_text, plain_display, shared_json
from metagym.workers.protocol import Frame, InnerEnv, MakeEnv

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r" at 0x[0-9a-f]+", re.IGNORECASE)  # it differs from process to process


class HostedEnv:
    """Steps one environment in its own process; whatever it raises or wrongly returns is an InnerEnvError.

    `beside` are the others that are in use: the new environment must not be one of theirs.
    """

    def __init__(self, make_env: MakeEnv, beside: Iterable[HostedEnv] = ()) -> None:
        self.broken = False
        try:
            self._env = make_env()
        except (ImportError, KeyboardInterrupt):
            raise  # the message of an ImportError names the package to install
        except BaseException as error:
            raise InnerEnvError(f"The inner environment could not be made: {in_words(error)}") from error
        if any(self._env is other._env for other in beside):
            raise InnerEnvError(
                "Expected make_inner_env to return a new environment each time, got the same object of "
                f"{type(self._env).__name__} for two episodes at once, which would change each other's state. Make the "
                "object inside make_inner_env."
            )

    def reset(self, task: Task) -> Frame:
        """Start `task`."""
        try:
            result: object = self._env.reset(seed=task.seed, options={"task_id": task.id})
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also `sys.exit`, and the panic of a library in Rust
            raise self._failure("reset", error) from error
        return self._read(frame_of_reset, result)

    def step(self, command: str) -> Frame:
        """Execute `command`."""
        try:
            result: object = self._env.step(command)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._failure(f"step({command!r:.200})", error) from error
        return self._read(frame_of_step, result)

    def close(self) -> None:
        """Close the environment, and ignore errors: a broken one may break again, and its episode is recorded."""
        try:
            self._env.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            logger.debug("The inner environment raised in close: %s", in_words(error))

    def _failure(self, call: str, error: BaseException) -> InnerEnvError:
        self.broken = True
        return InnerEnvError(f"The inner environment raised in {call}: {in_words(error)}")

    def _read(self, read: Callable[[object], Frame], result: object) -> Frame:
        try:
            return read(result)
        except (InnerEnvError, KeyboardInterrupt):
            self.broken = True
            raise
        except BaseException as error:  # a mapping or an iterator of the environment's own
            self.broken = True
            raise InnerEnvError(f"The result of the inner environment cannot be read: {in_words(error)}") from error


class LocalWorkers:
    """Inner environments in this process, stepped on the event loop: for environments that are fast.

    An environment is leased for one episode and then returns to the pool; one that raised is thrown away.
    """

    def __init__(self, make_env: MakeEnv) -> None:
        self._make_env = make_env
        self._idle: list[_LocalEnv] = []
        self._leased: list[_LocalEnv] = []
        self._closed = False

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[InnerEnv]:
        """Lease a pooled environment, or a new one if all are in use."""
        beside = (leased.hosted for leased in self._leased)
        env = self._idle.pop() if self._idle else _LocalEnv(HostedEnv(self._make_env, beside))
        self._leased.append(env)
        try:
            yield env
        finally:
            self._leased.remove(env)
            if env.hosted.broken or self._closed:
                env.hosted.close()
            else:
                self._idle.append(env)

    def close(self) -> None:
        """Close the idle environments; one in use closes when its lease ends. Calling it twice is fine."""
        self._closed = True
        while self._idle:
            self._idle.pop().hosted.close()


class _LocalEnv:
    def __init__(self, hosted: HostedEnv) -> None:
        self.hosted = hosted

    async def reset(self, task: Task) -> Frame:
        return self.hosted.reset(task)

    async def step(self, command: str) -> Frame:
        return self.hosted.step(command)


def frame_of_reset(result: Any) -> Frame:
    """Return the frame of `reset`'s result; InnerEnvError if it is not `(observation, info)`."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise _expected("reset", "to return (observation, info)", result)
    return Frame(_text("an observation", result[0]), 0.0, False, False, _info(result[1]))


def frame_of_step(result: Any) -> Frame:
    """Return the frame of `step`'s result; InnerEnvError if the five values are not those of Gymnasium's API."""
    if not isinstance(result, tuple) or len(result) != 5:
        raise _expected("step", "to return (observation, reward, terminated, truncated, info)", result)
    text, reward, terminated, truncated, info = result
    return Frame(
        _text("an observation", text),
        _number("a reward", reward, "Return a float, 0.0 if nothing was earned."),
        _truth("terminated", terminated),
        _truth("truncated", truncated),
        _info(info),
    )


def _info(info: Any) -> dict[str, Any]:
    if not isinstance(info, Mapping):
        raise _expected("info", "to be a dict", info)
    kept: dict[str, Any] = {}
    for name in ("goal", "outcome"):
        if (value := info.get(name)) is not None:
            kept[name] = _text(f"info[{name!r}]", value)
    for name in ("available_actions", "events"):
        if (value := info.get(name)) is not None:
            kept[name] = _texts(f"info[{name!r}]", value)
    if (success := info.get("success")) is not None:
        kept["success"] = _truth("info['success']", success)
    if (progress := info.get("progress")) is not None:
        remedy = "Return the share of the goal that is reached, from 0 to 1."
        kept["progress"] = _number("info['progress']", progress, remedy)
        if not 0.0 <= kept["progress"] <= 1.0:
            raise _expected("info['progress']", "to be a number from 0 to 1", progress, remedy)
    if (display := info.get("display")) is not None:
        kept["display"] = plain_display(display)
    if (tools := info.get("tools")) is not None:
        if problem := tools_problem(tools):
            text = f"Expected info['tools'] of the inner environment to be a tuple of schemas: {problem}."
            raise InnerEnvError(_ADDRESS.sub("", text))
        kept["tools"] = tuple(shared_json(list(tools)))
    return kept


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _expected(name, "to be a str", value, "Wrap the environment in metagym.TextAdapter.")
    return clean_text(value if type(value) is str else str.__str__(value))


def _texts(name: str, values: Any) -> tuple[str, ...]:
    # A set has another order in each process.
    if isinstance(values, str | set | frozenset | Mapping) or not isinstance(values, Iterable):
        raise _expected(name, "to be a tuple of str", values)
    if type(values) is tuple and set(map(type, values)) <= {str} and "".join(values).isascii():
        return values  # the usual case: a step has ten actions or more
    return tuple(_text(f"each of {name}", value) for value in values)


def _truth(name: str, value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise _expected(name, "to be True or False", value, "Wrap the condition in bool().")


def _number(name: str, value: Any, remedy: str) -> float:
    try:
        # A text has no __float__, although float() would read it.
        number = float(value) if hasattr(value, "__float__") or hasattr(value, "__index__") else math.nan
    except Exception:  # an array, or a number of the environment's own
        number = math.nan
    if not math.isfinite(number):
        raise _expected(name, "to be a finite number", value, remedy)
    return number


def _expected(name: str, what: str, got: Any, remedy: str = "") -> InnerEnvError:
    try:
        shown = _ADDRESS.sub("", repr(got))[:100]
    except KeyboardInterrupt:
        raise
    except BaseException:
        shown = "a value that cannot be shown"
    text = f"Expected {name} of the inner environment {what}, got {shown} ({type(got).__name__}). {remedy}"
    return InnerEnvError(text.rstrip())
