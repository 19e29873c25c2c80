"""The content of the benchmark's package: tasks with their solutions, functions, and the checks of state."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple

from metagym.imports import require
from metagym.tools import ToolCall, value_problem
from metagym.types import digest

API_NAMES: Final[Mapping[str, str]] = {
    "GorillaFileSystem": "files",
    "MathAPI": "maths",
    "MessageAPI": "messages",
    "TwitterAPI": "posts",
    "TicketAPI": "tickets",
    "TradingBot": "trading",
    "TravelAPI": "travel",
    "VehicleControlAPI": "vehicle",
}
"""The benchmark's classes, and their names in families."""
VARIANTS: Final[Mapping[str, str]] = {
    "": "base",
    "missing-function": "miss_func",
    "missing-parameter": "miss_param",
    "long-context": "long_context",
}
"""The variants of a task: the part of a family's name, and the benchmark's name."""
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}


class ToolsTask(NamedTuple):
    """A task of the benchmark."""

    id: str
    family: str
    """The APIs, joined by `+`; a variant follows after a slash: `files+posts/missing-function`."""
    classes: tuple[str, ...]
    config: Mapping[str, Any]
    """The state of the APIs at the start."""
    requests: tuple[str, ...]
    """The user's words, turn by turn; an empty text announces new functions."""
    solution: tuple[tuple[ToolCall, ...], ...]
    """The right calls of each turn."""
    added: Mapping[int, tuple[str, ...]]
    """Functions that are missing at first, by the turn that brings them."""

    @property
    def is_solvable(self) -> bool:
        """Whether each right call is of a function that is there when it is needed."""
        missing = {name: turn for turn, names in self.added.items() for name in names}
        return all(missing.get(call.name, 0) <= turn for turn, calls in enumerate(self.solution) for call in calls)

    @property
    def tools(self) -> tuple[dict[str, Any], ...]:
        """The schemas of all functions of the task's APIs, those that come later too."""
        right = [call for calls in self.solution for call in calls]
        return tuple(_widened(schema, right) for name in self.classes for schema in _schemas(name))

    @property
    def content(self) -> str:
        """Digest of the start of the task without a variant: tasks and variants that share it have one role.

        Some variants change the state a little.
        """
        plain = load_tasks()[f"multi_turn_base_{self.id.rpartition('_')[2]}"]
        return digest(dict(plain.config))


@functools.cache
def load_tasks() -> dict[str, ToolsTask]:
    """Return all tasks of the multi-turn part by their ids."""
    found: dict[str, ToolsTask] = {}
    for variant, name in VARIANTS.items():
        solutions = {row["id"]: row["ground_truth"] for row in _rows(f"possible_answer/BFCL_v4_multi_turn_{name}.json")}
        for row in _rows(f"BFCL_v4_multi_turn_{name}.json"):
            found[row["id"]] = _task(row, solutions[row["id"]], variant)
    return found


def start_world(task: ToolsTask) -> dict[str, Any]:
    """Return new objects of the task's APIs, in the state of its start."""
    config, world = require("bfcl_eval.constants.executable_backend_config"), {}
    for name in task.classes:
        world[name] = getattr(require(config.CLASS_FILE_PATH_MAPPING[name]), name)()
        if name not in config.STATELESS_CLASSES:
            scenario = copy.deepcopy(task.config.get(name, {}))
            world[name]._load_scenario(scenario, long_context=task.family.endswith("/long-context"))
    return world


def execute(world: Mapping[str, Any], call: ToolCall) -> str:
    """Return the result of a call as a text, as the benchmark writes it."""
    api = next((item for item in world.values() if hasattr(type(item), call.name)), None)
    if api is None or call.name.startswith("_"):
        return f"Error during execution: name '{call.name}' is not defined"
    try:
        result = getattr(api, call.name)(**call.arguments)
    except Exception as error:  # of the API's own code: in the benchmark it is the result
        return f"Error during execution: {error}"
    if isinstance(result, str):
        return result
    try:
        return json.dumps(result) if isinstance(result, dict) else str(result)
    except TypeError:
        return str(result)
    except ValueError as error:  # a number with more digits than Python writes
        return f"Error during execution: {error}"


def state_problem(world: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return which API's state is not as it should be, by the benchmark's own check; empty if all are."""
    checker = require("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker")
    wrong = [name for name in wanted if not checker.state_checker({name: world[name]}, {name: wanted[name]})["valid"]]
    return " and ".join(API_NAMES[name] for name in wrong)


def has_responses(results: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether the results so far hold the wanted ones, by the benchmark's own check."""
    checker = require("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker")
    return bool(checker.response_checker(list(results), list(wanted), 0)["valid"])


def announcement() -> str:
    """Return the user's message when functions are added."""
    text: str = require("bfcl_eval.constants.default_prompts").DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC
    return text


def _rows(name: str) -> list[dict[str, Any]]:
    require("bfcl_eval", extra="bfcl-eval")
    text = files("bfcl_eval").joinpath("data").joinpath(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _task(row: Mapping[str, Any], solution: Sequence[Sequence[str]], variant: str) -> ToolsTask:
    classes = tuple(row["involved_classes"])
    apis = "+".join(sorted(API_NAMES[name] for name in classes))
    return ToolsTask(
        id=row["id"],
        family=f"{apis}/{variant}" if variant else apis,
        classes=classes,
        config=row["initial_config"],
        requests=tuple("\n".join(message["content"] for message in turn) for turn in row["question"]),
        solution=tuple(tuple(_read_call(text, classes) for text in turn) for turn in solution),
        added={int(turn): tuple(names) for turn, names in row.get("missed_function", {}).items()},
    )


def _read_call(text: str, classes: Sequence[str]) -> ToolCall:
    """Read a call that is written in Python; nothing is executed."""
    call = ast.parse(text.strip(), mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    given = {str(item.arg): ast.literal_eval(item.value) for item in call.keywords}
    if call.args:
        names = _parameters(call.func.id, tuple(classes))
        given = dict(zip(names, map(ast.literal_eval, call.args), strict=False)) | given
    return ToolCall(call.func.id, json.loads(json.dumps(given)))


@functools.cache
def _parameters(function: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    config = require("bfcl_eval.constants.executable_backend_config")
    apis = (getattr(require(config.CLASS_FILE_PATH_MAPPING[name]), name) for name in classes)
    method = next(getattr(api, function) for api in apis if hasattr(api, function))
    return tuple(inspect.signature(method).parameters)[1:]


@functools.cache
def _schemas(name: str) -> tuple[dict[str, Any], ...]:
    config = require("bfcl_eval.constants.executable_backend_config")
    return tuple(
        {
            "type": "function",
            "function": {
                "name": row["name"],
                "description": row["description"],
                "parameters": {**_json_schema(row["parameters"]), "additionalProperties": False},
            },
        }
        for row in _rows(f"multi_turn_func_doc/{config.MULTI_TURN_FUNC_DOC_FILE_MAPPING[name]}")
    )


def _widened(schema: dict[str, Any], right: Sequence[ToolCall]) -> dict[str, Any]:
    """Return the schema without the types that a right call contradicts: the benchmark has one such task."""
    function = schema["function"]
    for call in right:
        if call.name == function["name"] and value_problem(call.arguments, function["parameters"]):
            known = function["parameters"]["properties"]
            wrong = {name for name, value in call.arguments.items() if value_problem(value, known[name])}
            loose = {name: {"description": known[name].get("description", "")} for name in wrong}
            parameters = {**function["parameters"], "properties": {**known, **loose}}
            return {**schema, "function": {**function, "parameters": parameters}}
    return schema


def _json_schema(schema: Any) -> Any:
    """Return a schema with the types of JSON schemas; the benchmark writes those of Python."""
    if isinstance(schema, list):
        return [_json_schema(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    own = {name: _json_schema(value) for name, value in schema.items()}
    if isinstance(own.get("type"), str) and own["type"] in _TYPES:
        own["type"] = _TYPES[own["type"]]
    return {name: value for name, value in own.items() if value is not None}
