"""Random calls of tools, for the random actor and the contract checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from metagym.tools.calls import Tool, ToolCall
from metagym.tools.schemas import Schema, items_of, properties_of, required_in, resolved

_WORDS = ("a", "file.txt", "north", "2026-01-31", "17")
_LEVELS: Final = 4
"""The levels of a call that hold optional parts."""
_MORE_LEVELS: Final = 16
"""The further levels of required parts alone: a schema may demand itself, and no value fits that."""
_MOST: Final = 1000
"""The most characters and items that a lower bound adds."""

_ENDLESS: Final = 1e300
"""A bound of a number that is as large is ignored: a sum with it could overflow."""


def random_call(tools: Sequence[Tool], rng: np.random.Generator) -> ToolCall:
    """Return a call of one of the tools, with random arguments of the types and within the bounds of its schema."""
    function = tools[int(rng.integers(len(tools)))]["function"]
    root = {"type": "object", **(function.get("parameters") or {})}
    return ToolCall(function["name"], _value(root, root, rng, _LEVELS))


def _value(schema: Any, root: Schema, rng: np.random.Generator, levels: int) -> Any:
    if not isinstance(schema, Mapping) or levels < -_MORE_LEVELS:
        return None
    if "$ref" in schema:
        return _value(resolved(str(schema["$ref"]), root), root, rng, levels - 1)
    if isinstance(choices := schema.get("enum"), list) and choices:
        return choices[int(rng.integers(len(choices)))]
    if "const" in schema:
        return schema["const"]
    if forms := _forms(schema, levels):
        return _value(forms[int(rng.integers(len(forms)))], root, rng, levels - 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        required, properties = required_in(schema), properties_of(schema)
        given = [name for name in properties if name in required or (levels > 0 and rng.random() < 0.5)]
        given += [name for name in required if name not in properties]
        return {name: _value(properties.get(name, {}), root, rng, levels - 1) for name in given}
    if kind == "array":
        size = _within(schema, "Items", int(rng.integers(3)) if levels > 0 else 0)
        return [_value(items_of(schema, number), root, rng, levels - 1) for number in range(size)]
    if kind == "integer":
        return math.ceil(_number(schema, int(rng.integers(10)), 1))
    if kind == "number":
        return float(_number(schema, float(rng.integers(100)) / 10, 0.1))
    if kind == "boolean":
        return bool(rng.integers(2))
    if kind == "null":
        return None
    word = _WORDS[int(rng.integers(len(_WORDS)))]
    size = _within(schema, "Length", len(word))
    return word[:size].ljust(size, "a")


def _forms(schema: Schema, levels: int) -> list[Any]:
    """Return the forms that a value may have; those that end early if the value is deep enough."""
    found = next((forms for name in ("anyOf", "oneOf", "allOf") if (forms := schema.get(name))), None)
    forms = found if isinstance(found, list) else []
    flat = [form for form in forms if isinstance(form, Mapping) and "$ref" not in form]
    return flat if flat and levels <= 0 else forms


def _within(schema: Schema, kind: str, size: int) -> int:
    """Return the size within the schema's bounds."""
    least, most = _bound(schema, f"min{kind}", 0), _bound(schema, f"max{kind}", math.inf)
    return int(min(max(size, min(least, _MOST)), most))


def _number(schema: Schema, distance: float, unit: float) -> float:
    """Return the number at a distance from the least one, within the schema's bounds; a unit keeps it off open ends."""
    bottom, low = _bound(schema, "exclusiveMinimum", -math.inf), _bound(schema, "minimum", -math.inf)
    top, high = _bound(schema, "exclusiveMaximum", math.inf), _bound(schema, "maximum", math.inf)
    least, most = max(low, bottom + unit), min(high, top - unit)
    if least > most:  # less than a unit is open
        return (max(low, bottom) + min(high, top)) / 2
    start = min(0, most) if least == -math.inf else least
    return min(start + distance, most)


def _bound(schema: Schema, name: str, default: float) -> float:
    bound = schema.get(name)
    if isinstance(bound, int | float) and not isinstance(bound, bool) and abs(bound) < _ENDLESS:
        return bound
    return default
