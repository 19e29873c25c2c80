"""Random calls, which the random actor and the checks play: they fit the schemas of the tools."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import BaseModel, Field
from tests.tools.test_schemas import book

from metagym.tools import ToolCall, call_problem, random_call, tool_schema
from metagym.tools.schemas import arguments_of


class Node(BaseModel):
    value: int
    children: list[Node]
    twin: Node | None


class Item(BaseModel):
    group: Group


class Group(BaseModel):
    items: list[Item]


def bounded(
    above: Annotated[int, Field(gt=0)],
    below: Annotated[int, Field(lt=-5)],
    far: Annotated[int, Field(ge=5_000_000_000)],
    narrow: Annotated[float, Field(gt=0, lt=0.01)],
    half: Annotated[float, Field(ge=0, lt=0.01)],
    long: Annotated[str, Field(min_length=20)],
    short: Annotated[str, Field(max_length=3)],
    some: Annotated[list[str], Field(min_length=2, max_length=2)],
    pair: tuple[int, str],
) -> None: ...


def recursive(node: Node, item: Item) -> None: ...


@pytest.mark.parametrize("function", [book, bounded, recursive])
def test_random_calls_fit_their_schema(function: Any) -> None:
    tool, rng = tool_schema(function), np.random.default_rng(0)
    calls = [random_call([tool], rng) for _ in range(200)]
    assert {call_problem(call, [tool]) for call in calls} == {""}
    assert [arguments_of(function).model_validate(call.arguments) for call in calls]
    assert len({call.text for call in calls}) > 100


def with_argument(schema: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "maximum": None},
        {"type": "number", "minimum": "1"},
        {"type": "number", "minimum": 1e400},
        {"type": "number", "exclusiveMinimum": 2**1024},
        {"type": "string", "minLength": 10**12},
        {"type": "array", "minItems": 10**12, "maxItems": None},
        {"type": "object", "required": True},
        {"type": "object", "properties": ["a"]},
        {"type": 5},
        {"anyOf": {"x": 1}},
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    ],
)
def test_an_odd_schema_or_one_that_no_value_fits_gets_some_call(schema: Any) -> None:
    for seed in range(20):
        assert isinstance(random_call([with_argument(schema)], np.random.default_rng(seed)), ToolCall)


def test_the_draws_of_a_seed_stay_the_same() -> None:
    call = random_call([tool_schema(book)], np.random.default_rng(0))
    assert str(call) == 'book(title="file.txt", row="front", size="small", seats=[], note="17")'


def test_a_name_that_is_required_and_not_described_is_given() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"required": ["b"]}}}
    assert random_call([tool], np.random.default_rng(0)).arguments.keys() == {"b"}
