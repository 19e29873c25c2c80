"""ToolEnv: a world of tools in a few lines, whose marked methods are the tools."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, ClassVar, NamedTuple, TypeVar

import gymnasium
import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json, to_jsonable_python

from metagym.errors import ConfigError, ToolError
from metagym.spaces import TextSpace
from metagym.tools.calls import ToolCall, call_problem, read_call
from metagym.tools.schemas import arguments_of, tool_schema
from metagym.types.plain_values import without_sets

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
_MARK = "_is_metagym_tool"
"""An attribute, which travels with the function to the processes of Ray."""


def tool(method: AnyFunction) -> AnyFunction:
    """Mark a method of a `ToolEnv` as a tool of the agent. Each parameter needs a type; the docstring describes it."""
    _check_method(method, getattr(method, "__name__", repr(method)))
    setattr(method, _MARK, True)
    return method


class ToolEnv(gymnasium.Env[str, str]):
    """An inner environment whose methods with the mark `tool` are the agent's tools.

    A subclass writes `start`, which sets a task up and returns the first text, and `score`, which judges the end.
    A call returns the result of its method: a text as it is, everything else as JSON. There infinite numbers and NaN
    are the words `Infinity` and `NaN`. A call that cannot work raises `ToolError`, and its message is the result; any
    other exception is an error of the environment.
    The episode ends when the agent writes a text without a call, unless `respond` has an answer, or when a tool calls
    `finish`. If `score` returns a bool, it is the success; a number is the reward of the last step.

    >>> import metagym
    >>> class Scales(metagym.ToolEnv):
    ...     goal = "Name the heavier of a and b."
    ...     def start(self, family: str) -> str:
    ...         self.weights = {name: int(self.np_random.integers(100)) for name in "ab"}
    ...         self.answer = ""
    ...         return "Two parcels lie here."
    ...     @metagym.tool
    ...     def weigh(self, parcel: str) -> int:
    ...         '''Return the weight of a parcel in grams.'''
    ...         if parcel not in self.weights:
    ...             raise ToolError(f"There is no parcel {parcel!r}.")
    ...         return self.weights[parcel]
    ...     def respond(self, text: str) -> None:
    ...         self.answer = text
    ...     def score(self) -> bool:
    ...         return self.answer == max(self.weights, key=self.weights.__getitem__)
    >>> env = Scales()
    >>> _ = env.reset(seed=0)
    >>> env.step('{"name": "weigh", "arguments": {"parcel": "a"}}')[0], env.step("a")[1]
    ('85', 1.0)
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]
    goal: str = ""
    """The task in words; a class attribute, or set in `start`."""
    task_id: str = ""
    """The id of the task, if `reset` was given one."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = TextSpace()
        self._tools()  # so that a tool that cannot be one fails here, not at the first reset

    def start(self, family: str) -> str:
        """Set a task of the family up, by `self.np_random`, and return the first text."""
        raise NotImplementedError(f"Expected {type(self).__name__} to override start(family), got no such method.")

    def score(self) -> float:
        """Return the score of the episode at its end: a bool, or a number."""
        raise NotImplementedError(f"Expected {type(self).__name__} to override score(), got no such method.")

    def respond(self, text: str) -> str | None:
        """Return the user's answer to the agent's text; None ends the episode."""
        return None

    def finish(self, outcome: str = "") -> None:
        """End the episode with the call that is being executed; `outcome` describes the end in words."""
        self._is_over, self._outcome = True, outcome

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the task `options["task_id"]` (`family/seed`), or a task of the family `default`."""
        super().reset(seed=seed)
        self.task_id = str((options or {}).get("task_id", ""))
        self._is_over, self._outcome = False, ""
        family = self.task_id.rpartition("/")[0] or "default"
        self._open(family)
        text: Any = self.start(family)
        if not isinstance(text, str):
            raise ConfigError(
                f"Expected {type(self).__name__}.start({family!r}) to return the first text, got {text!r:.80}. "
                "Return what the agent reads first, such as the task in words."
            )
        return text, {**self._info(), "tools": self._schemas()}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute a call, or hear the agent's text. A call that does not fit is answered in words."""
        call = read_call(action)
        if call is None:
            text: Any = self.respond(action)
            if not isinstance(text, str | None):
                raise ConfigError(
                    f"Expected {type(self).__name__}.respond() to return the user's answer as a text, or None to end "
                    f"the episode, got {text!r:.80}."
                )
            self._is_over = self._is_over or text is None
            text = text or ""
        else:
            text = self._execute(call.name, call.arguments)
        if not self._is_over:
            return text, 0.0, False, False, self._info()
        score: Any = self.score()
        if isinstance(score, str) or not hasattr(score, "__float__"):
            raise ConfigError(
                f"Expected {type(self).__name__}.score() to return a bool (the success) or a number (the reward of the "
                f"last step), got {score!r:.80}."
            )
        info = self._info() | ({"success": bool(score)} if isinstance(score, bool | np.bool_) else {})
        return text, float(score), True, False, info | ({"outcome": self._outcome} if self._outcome else {})

    def _open(self, family: str) -> None:
        """Open the resources of a task's tools, before `start`."""

    def _schemas(self) -> tuple[dict[str, Any], ...]:
        return tuple(found.schema for found in self._tools().values())

    def _execute(self, name: str, arguments: dict[str, Any]) -> str:
        tools = self._tools()
        if name not in tools:
            return f"Error: {call_problem(ToolCall(name, arguments), self._schemas())}"
        try:
            given = tools[name].arguments.model_validate(arguments)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            return f"Error: The arguments of {name!r} are wrong: {place}: {first['msg']}."
        try:
            result = tools[name].method(self, **dict(_given(given)))
        except ToolError as error:
            return f"Error: {error}"
        if result is None:
            return "Done."
        return result if isinstance(result, str) else _in_json(result, name)

    def _tools(self, adapter: Any = None) -> dict[str, _Tool]:
        kind: Any = type(self)
        return _tools_of(kind, adapter or ToolEnv)

    def _info(self) -> dict[str, Any]:
        return {"goal": self.goal} if self.goal else {}


def _in_json(result: Any, tool: str) -> str:
    try:
        plain = to_jsonable_python(without_sets(result), fallback=_plain_of_numpy)
        return to_json(plain, inf_nan_mode="strings").decode()  # a model of pydantic would write null itself
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"Expected the tool {tool!r} to return a text or a value that JSON can hold, got {type(result).__name__}: "
            f"{error}. Return texts, numbers, lists, mappings, dataclasses or models of pydantic."
        ) from error


def _plain_of_numpy(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a value of the type {type(value).__name__}")


class _Tool(NamedTuple):
    method: Callable[..., Any]
    arguments: type[BaseModel]
    schema: dict[str, Any]


@functools.cache
def _tools_of(kind: Any, adapter: Any) -> dict[str, _Tool]:
    """Return the tools of a class by the names of their attributes, in the order of their definition.

    Those names must be none that `adapter`, its base, uses itself.
    """
    found: dict[str, _Tool] = {}
    for base in reversed(kind.__mro__):
        for name, value in vars(base).items():
            if getattr(getattr(value, "__func__", value), _MARK, None) is True:
                _check_method(value, name)
                if hasattr(adapter, name):
                    raise ConfigError(
                        f"Expected a name of a tool that {adapter.__name__} does not use itself, got {name!r}. Give "
                        "the tool another name."
                    )
                schema = tool_schema(value)
                schema["function"]["name"] = name  # a function of another name may have been assigned
                found[name] = _Tool(value, arguments_of(value), schema)
            else:
                found.pop(name, None)  # a subclass overrides a tool with something else
    return found


def _check_method(method: Any, name: str) -> None:
    is_plain = isinstance(method, FunctionType) and not inspect.iscoroutinefunction(method)
    if not is_plain or inspect.isasyncgenfunction(method):
        raise ConfigError(
            f"Expected the tool {name!r} as a plain method, got {method!r}. Write def {name}(self, ...), without "
            "async, staticmethod, classmethod and the like."
        )


def _given(arguments: BaseModel) -> Iterator[tuple[str, Any]]:
    """Yield the arguments that a call gave, by the names of the parameters, as the types of the parameters."""
    for field, about in type(arguments).model_fields.items():
        if field in arguments.model_fields_set:
            yield str(about.alias), getattr(arguments, field)
