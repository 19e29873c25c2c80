"""Whatever is put into a record, it can be written and read back: each field of each record is cleaned or refused."""

from __future__ import annotations

import contextlib
import enum
import importlib
import json
import math
import pkgutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

import metagym
from metagym.errors import MissingExtraError
from metagym.optimizers import OptimizationResult
from metagym.runs import Manifest
from metagym.types import Action, Completion, Observation, Record, Reflection, Step, Trajectory
from metagym.types.plain_values import (
    MAX_DEPTH,
    Display,
    Json,
    clean_text,
    plain_display,
    plain_json,
    shared_json,
    without_sets,
)
from tests.conftest import make_episode, make_meta_step, make_step, make_task, make_trajectory

HALF = "a\ud800"
"""A text with half a character, and its clean form."""
CLEAN = "a\ufffd"
NOT_WRITTEN = {"MetaEnvConfig.schedule"}
"""A function, or a name that the schedules know."""


def records() -> list[type[Record]]:
    for module in pkgutil.walk_packages(metagym.__path__, "metagym."):
        if not module.name.startswith(("metagym.__main__", "metagym.bridges")):
            with contextlib.suppress(MissingExtraError):
                importlib.import_module(module.name)
    found: list[type[Record]] = [Record]
    for cls in found:
        found += [sub for sub in cls.__subclasses__() if sub.__module__.startswith("metagym") and sub not in found]
    return found[1:]


CLEANERS = {clean_text, Display.__metadata__[0].clean, Json.__metadata__[0].func, shared_json}


def open_fields(schema: Any) -> Iterator[str]:
    """Yield the type of each part of a field that no cleaner guards: a `str`, or any value."""
    if isinstance(schema, dict):
        if schema.get("type") == "json-or-python":  # JSON has no lone surrogates
            yield from open_fields(schema["python_schema"])
            return
        function = schema.get("function")
        if isinstance(function, dict) and function.get("function") in CLEANERS:
            return
        if schema.get("type") in ("str", "any"):
            yield str(schema["type"])
        for name, part in schema.items():
            if name not in ("metadata", "serialization", "cls", "function"):
                yield from open_fields(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from open_fields(part)


def test_a_shared_value_is_as_a_plain_one_and_equal_values_are_one_object() -> None:
    value = {"a": (1, 2), "b": float("nan"), HALF: HALF}
    assert shared_json(value) == plain_json(value) == {"a": [1, 2], "b": None, CLEAN: CLEAN}
    assert shared_json({"a": (1, "x")}) is shared_json({"a": [1, "x"]})
    with pytest.raises(ValueError, match="expected JSON, got a set"):
        shared_json({"a": {1}})


def test_every_text_and_every_json_value_of_every_record_is_cleaned() -> None:
    """A new field of type `str` or `Any` fails here: write `Text` or `Json`."""
    found = records()
    assert {Trajectory, Manifest, OptimizationResult} <= set(found)
    unguarded = {
        f"{cls.__name__}.{name}": parts
        for cls in found
        for name, field in cls.__pydantic_fields__.items()
        if (parts := [*open_fields(pydantic_schema(cls, name))])
    }
    assert set(unguarded) <= NOT_WRITTEN, unguarded


def pydantic_schema(cls: type[Record], name: str) -> Any:
    """Return the schema of a field; the schemas of records within it are checked for themselves."""
    schema: Any = cls.__pydantic_core_schema__
    while schema.get("type") not in ("model-fields",):
        schema = schema.get("schema") or next(
            item for item in schema["definitions"] if item.get("cls") is cls or item.get("type") == "model"
        )
    return schema["fields"][name]


def test_an_open_field_is_found() -> None:
    class Careless(Record):
        names: dict[str, tuple[int, str]] = {}
        anything: Any = None
        memory: Json = None

    found = {name: [*open_fields(pydantic_schema(Careless, name))] for name in Careless.model_fields}
    assert found == {"names": ["str", "str"], "anything": ["any"], "memory": []}


def test_half_a_character_in_json_is_refused() -> None:
    with pytest.raises(ValidationError, match="hex escape"):
        Completion.model_validate_json(b'{"text": "a\\ud800"}')


def test_a_record_with_half_characters_everywhere_comes_back_equal() -> None:
    task = make_task(HALF, family=HALF, split=HALF, source=HALF, digest=HALF)
    completion = Completion(text=HALF, reasoning=HALF, finish_reason=HALF, model=HALF)
    observation = Observation(text=HALF, goal=HALF, available_actions=(HALF,), feedback=HALF, display={HALF: [HALF]})
    action = Action(text=HALF, thought=HALF, problem=HALF, completion=completion, prompt_read=HALF)
    step = Step(observation=observation, action=action, command=HALF, is_valid=True, reward=0.0, events=(HALF,))
    trajectory = make_trajectory(
        [step], episode=make_episode(HALF, task, arm=HALF), stop_detail=HALF, error=HALF, actor_revision=HALF
    )
    reflection = Reflection(prompt=HALF, analysis=HALF, problem=HALF, memory={HALF: (HALF,)}, completion=completion)
    meta_step = make_meta_step([trajectory], prompt=HALF, reflection=reflection)
    text = meta_step.model_dump_json()
    assert type(meta_step).model_validate_json(text) == meta_step
    assert (text.count("\ufffd"), HALF in text) == (text.count(CLEAN), False)


# Numbers that JSON does not have ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_an_infinite_log_probability_comes_back_equal(number: float) -> None:
    completion = Completion(text="x", logprobs=(-0.5, number))
    assert Completion.model_validate_json(completion.model_dump_json()) == completion
    json.loads(completion.model_dump_json(), parse_constant=pytest.fail)


def test_a_log_probability_that_is_no_number_can_be_read_back() -> None:
    again = Completion.model_validate_json(Completion(text="x", logprobs=(math.nan,)).model_dump_json())
    assert again.logprobs is not None
    assert math.isnan(again.logprobs[0])


def test_the_result_of_a_loop_without_a_score_comes_back_equal() -> None:
    result = OptimizationResult(best_prompt="p", best_reward=-math.inf, last_prompt="p", history=())
    assert OptimizationResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_reward_and_a_score_must_be_finite(number: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        make_step(reward=number)
    with pytest.raises(ValidationError, match="finite"):
        make_trajectory(score=number)


# Memory is kept as it is, or refused -----------------------------------------------------------------------


def nested(depth: int) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


@pytest.mark.parametrize(
    ("memory", "kept"),
    [
        ({"best": math.nan, "least": -math.inf}, {"best": None, "least": None}),
        (
            {"counts": np.arange(2), "mean": np.float32(0.5), "won": np.bool_(True)},
            {"counts": [0, 1], "mean": 0.5, "won": True},
        ),
        ({1: ("a", HALF), "b": None}, {"1": ["a", CLEAN], "b": None}),
        (enum.IntEnum("Size", ["SMALL"]).SMALL, 1),
        (nested(MAX_DEPTH), nested(MAX_DEPTH)),
    ],
)
def test_a_memory_is_kept_as_json(memory: Any, kept: Any) -> None:
    reflection = Reflection(prompt="p", memory=memory)
    assert reflection.memory == kept
    assert Reflection.model_validate_json(reflection.model_dump_json()) == reflection


@pytest.mark.parametrize(
    ("memory", "problem"),
    [
        ({"seen": {1, 2}}, "got a set in it"),
        ({("a", "b"): 1}, "texts as keys of JSON, got a tuple"),
        (nested(MAX_DEPTH + 1), "at most 64 levels"),
        (nested(5_000), "at most 64 levels"),
        (endless(), "at most"),
        ([0] * 200_001, "at most 200,000 parts"),
        (10**400, "numbers of at most 1,024 bits"),
        (object(), "got a object in it"),
    ],
)
def test_a_memory_that_cannot_be_read_back_is_refused_by_name(memory: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=rf"(?s)memory.*{problem}"):
        Reflection(prompt="p", memory=memory)


# A display is shown in words, and breaks nothing -----------------------------------------------------------


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("display", "shown"),
    [
        ({"map": np.eye(2), "hp": np.int8(3)}, {"map": [[1.0, 0.0], [0.0, 1.0]], "hp": 3}),
        ({"day": date(2026, 1, 2), "seen": {7}}, {"day": "2026-01-02", "seen": [7]}),
        ({(0, 1): HALF}, {"(0, 1)": CLEAN}),
        (b"\xff", "b'\\xff'"),
    ],
)
def test_odd_values_of_a_display_become_json_or_words(display: Any, shown: Any) -> None:
    assert Observation(text="x", display=display).display == shown


@pytest.mark.parametrize("display", [nested(300), endless(), Rude(), {"a": Rude()}, ["x"] * 200_001], ids=range(5))
def test_a_display_that_cannot_be_shown_says_why(display: Any) -> None:
    observation = Observation(text="x", display=display)
    assert str(observation.display).startswith("not JSON: ")
    assert Observation.model_validate_json(observation.model_dump_json()) == observation


def test_a_display_that_the_environment_changes_later_is_recorded_as_it_was() -> None:
    board = ["start"]
    observation = Observation(text="x", display=board)
    board[0] = "end"
    assert observation.display == ["start"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=[])), inner),
    max_leaves=20,
)


@given(values)
def test_any_json_value_reads_back_equal_within_a_record(value: Any) -> None:
    plain = plain_json(value)
    assert pydantic_core.from_json(pydantic_core.to_json(plain)) == plain
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain_json(plain) == plain


def test_a_display_is_the_same_in_every_process() -> None:
    shown = plain_display({"seen": {"lamp", "door", "key"}, "at": object()})
    assert shown == {"seen": ["door", "key", "lamp"], "at": "<object object>"}


@dataclass(frozen=True)
class Room:
    things: Any


class Box(NamedTuple):
    things: Any


class Shelf(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_bytes="base64")
    things: Any


class Shelves(BaseModel):
    all: set[Shelf]


NAMES = frozenset({"lamp", "door", "key", "box", "rug"})
SORTED = sorted(NAMES)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Room(NAMES), {"things": SORTED}),
        (Box(NAMES), [SORTED]),
        (Shelf(things=NAMES), {"things": SORTED}),
        (deque([NAMES]), [SORTED]),
        ((names for names in [NAMES]), [SORTED]),
        (Room(Shelf(things=[Box(NAMES)])), {"things": {"things": [[SORTED]]}}),
        ({Room(NAMES)}, [{"things": SORTED}]),
        (Shelves(all={Shelf(things=NAMES)}), {"all": [{"things": SORTED}]}),
    ],
)
def test_a_set_is_sorted_within_any_container(value: Any, plain: Any) -> None:
    assert without_sets(value) == plain


@pytest.mark.parametrize("value", [Shelf(things=b"\xff"), Shelf, Room, Room.__eq__])
def test_a_value_without_a_set_is_left_to_its_own_serializer(value: Any) -> None:
    assert without_sets(value) is value
