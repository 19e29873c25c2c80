"""From typed functions to schemas, and values held to a schema."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest

from metagym.errors import ConfigError
from metagym.tools import tool_schema, tools_problem, value_problem


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


def book(
    title: Annotated[str, "The film."],
    row: Literal["front", "back"],
    size: Size,
    seats: list[int],
    copy: bool = False,
    note: str | None = None,
) -> str:
    """Book seats
    in a cinema.

    Args:
        row (str): Where to sit,
            seen from the screen.
        note: A word to the staff.

    Returns:
        The number of the booking.
    """
    return ""


PARAMETERS: dict[str, Any] = tool_schema(book)["function"]["parameters"]
GOOD = {"title": "Alien", "row": "back", "size": "small", "seats": [1, 2]}


def test_a_functions_signature_docstring_and_annotations_make_its_schema() -> None:
    schema = tool_schema(book)
    assert schema["type"] == "function"
    assert schema["function"]["name"] == "book"
    assert schema["function"]["description"] == "Book seats in a cinema."
    assert PARAMETERS["required"] == ["title", "row", "size", "seats"]
    assert PARAMETERS["properties"]["title"] == {"type": "string", "description": "The film."}
    assert PARAMETERS["properties"]["row"] == {
        "type": "string",
        "enum": ["front", "back"],
        "description": "Where to sit, seen from the screen.",
    }
    assert PARAMETERS["properties"]["copy"] == {"type": "boolean", "default": False}
    assert PARAMETERS["properties"]["note"]["description"] == "A word to the staff."
    assert tools_problem((schema,)) == ""


def test_a_parameter_without_a_type_or_a_name_of_its_own_is_refused() -> None:
    def untyped(order) -> None: ...  # type: ignore[no-untyped-def]

    def star(*orders: int) -> None: ...

    with pytest.raises(ConfigError, match="needs a type for each parameter: write order: str"):
        tool_schema(untyped)
    with pytest.raises(ConfigError, match="must name each parameter"):
        tool_schema(star)


def calling(order: Callable[[int], int]) -> None: ...


def unknown(order: Unknown) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def opaque(order: random.Random) -> None: ...


@pytest.mark.parametrize("function", [calling, unknown, opaque])
def test_a_type_that_no_schema_describes_is_refused(function: Any) -> None:
    name = function.__name__
    with pytest.raises(
        ConfigError, match=rf"(?s)A type of the tool '{name}' has no JSON schema: .*\. Write a type that"
    ):
        tool_schema(function)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"note": None}, ""),
        ({"seats": [1.0]}, ""),
        ({"title": 7}, "'title' must be of type string, got 7"),
        ({"seats": [1, "two"]}, "'seats[1]' must be of type integer, got 'two'"),
        ({"seats": [True]}, "'seats[0]' must be of type integer, got True"),
        ({"row": "side"}, "'row' must be one of 'front', 'back', got 'side'"),
        ({"size": "huge"}, "'size' must be one of 'small', 'large', got 'huge'"),
        ({"note": 1}, "'note' has none of the allowed forms: 'note' must be of type string, got 1"),
        ({"rwo": "back"}, "'rwo' is unknown; known are 'title', 'row', 'size', 'seats', 'copy', 'note'"),
    ],
)
def test_arguments_are_held_to_the_schema(change: dict[str, Any], problem: str) -> None:
    assert value_problem({**GOOD, **change}, PARAMETERS) == problem


def test_a_missing_argument_is_named() -> None:
    assert value_problem({"title": "Alien"}, PARAMETERS) == "'row' is missing"


@pytest.mark.parametrize(
    ("value", "schema", "problem"),
    [
        (3, {"minimum": 4}, "the value must be at least 4, got 3"),
        (3, {"exclusiveMaximum": 3}, "the value must be below 3, got 3"),
        ("abc", {"maxLength": 2}, "the value must have 0 to 2 characters, got 3"),
        ([], {"minItems": 1}, "the value must have 1 to inf items, got 0"),
        ("x1", {"pattern": "^[a-z]+$"}, "the value must match '^[a-z]+$', got 'x1'"),
        ("x1", {"pattern": "(?<bad"}, ""),
        ("x1", {"pattern": "(?=y)"}, ""),
        ("a" * 5_000, {"pattern": r"^([a-z]+)*\.txt$"}, "the value must match '^([a-z]+)*\\\\.txt$', got '" + "a" * 99),
        (1, {"const": 2}, "the value must be 2, got 1"),
        ({"a": 1}, {"additionalProperties": {"type": "string"}}, "'a' must be of type string, got 1"),
        ("x", {"allOf": [{"type": "string"}, {"enum": ["y"]}]}, "the value must be one of 'y', got 'x'"),
        (1, {"type": ["string", "null"]}, "the value must be of type string or null, got 1"),
        (1, {"type": "a type of the future", "x-unknown": 1}, ""),
        ({"a": 1}, {"$ref": "#/$defs/A", "$defs": {"A": {"required": ["b"]}}}, "'b' is missing"),
        (1, {"$ref": "#"}, ""),
        (1, {"$ref": "https://example.org/schema"}, ""),
    ],
)
def test_each_known_keyword_is_checked_and_an_unknown_one_passed_over(value: Any, schema: Any, problem: str) -> None:
    assert value_problem(value, schema) == problem


@pytest.mark.parametrize("odd", [None, True, 5, "x", 1e400, [5], [[]], {"x": 1}])
@pytest.mark.parametrize(
    "keyword",
    ["$ref", "type", "enum", "anyOf", "oneOf", "allOf", "required", "properties", "additionalProperties", "items",
     "minimum", "exclusiveMaximum", "minLength", "maxItems", "pattern"],
)  # fmt: skip
def test_a_keyword_of_a_wrong_type_is_passed_over(keyword: str, odd: Any) -> None:
    schema = {"type": "object", "properties": {"a": {keyword: odd}}, "required": ["a"], keyword: odd}
    for value in (1, "x" * 5, [1], {"b": 1}, None):
        assert isinstance(value_problem({"a": value}, schema), str)


def test_required_true_in_a_property_demands_nothing() -> None:
    name = {"type": "string", "required": True}
    schema = {
        "type": "object",
        "properties": {"who": {"type": "object", "required": True, "properties": {"name": name}}},
    }
    assert value_problem({"who": {}}, schema) == ""
    assert value_problem({"who": {"name": 1}}, schema) == "'who.name' must be of type string, got 1"


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ("book", "expected a tuple of schemas"),
        ([{"name": "book"}], "expected {'type': 'function'"),
        ([{"type": "function", "function": {"name": "book a seat"}}], "expected a name of 1 to 64 letters"),
        ([tool_schema(book)] * 2, "expected different names, got 'book' twice"),
        ([{"type": "function", "function": {"name": "a", "description": 1}}], "expected the description of 'a'"),
        ([{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}], "JSON schema of an obj"),
        ([{"type": "function", "function": {"name": "a", "parameters": {"default": {1, 2}}}}], "a schema in JSON"),
    ],
)
def test_what_is_no_list_of_tools_is_named(tools: Any, problem: str) -> None:
    assert problem in tools_problem(tools)


def test_a_bound_of_null_is_no_bound() -> None:
    assert value_problem("x" * 9_000, {"type": "string", "minLength": None, "maxLength": None}) == ""


def test_the_first_items_may_have_their_own_schemas() -> None:
    schema = {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False}
    assert value_problem([1, "a"], schema) == ""
    assert value_problem(["a"], schema) == "'[0]' must be of type integer, got 'a'"
    assert value_problem([1, "a", 2], schema) == "'[2]' is not allowed"
