"""Random calls of tools: what the random actor and the contract checks play in a world of tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metagym.tools.calls import Tool, ToolCall
from metagym.tools.schemas import Schema, resolved

_WORDS = ("a", "file.txt", "north", "2026-01-31", "17")


def random_call(tools: Sequence[Tool], rng: np.random.Generator) -> ToolCall:
    """Return a call of one of the tools, with random arguments of the types that its schema names."""
    function = tools[int(rng.integers(len(tools)))]["function"]
    root = {"type": "object", **(function.get("parameters") or {})}
    return ToolCall(function["name"], _value(root, root, rng, 4))


def _value(schema: Any, root: Schema, rng: np.random.Generator, levels: int) -> Any:
    if not isinstance(schema, Mapping):
        return None
    if "$ref" in schema and levels:
        return _value(resolved(str(schema["$ref"]), root), root, rng, levels - 1)
    if isinstance(choices := schema.get("enum"), list) and choices:
        return choices[int(rng.integers(len(choices)))]
    if "const" in schema:
        return schema["const"]
    forms = schema.get("anyOf") or schema.get("oneOf")
    if forms and levels:
        return _value(forms[int(rng.integers(len(forms)))], root, rng, levels - 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    least = schema.get("minimum") or 0
    if kind == "object":
        required = schema.get("required") or ()
        properties = schema.get("properties") or {}
        given = [name for name in properties if name in required or rng.random() < 0.5] if levels else required
        return {name: _value(properties.get(name, {}), root, rng, levels - 1) for name in given}
    if kind == "array":
        size = int(rng.integers(3)) if levels else 0
        return [_value(schema.get("items", {}), root, rng, levels - 1) for _ in range(size)]
    if kind == "integer":
        return int(min(least + int(rng.integers(10)), schema.get("maximum", 2**31)))
    if kind == "number":
        return float(min(least + float(rng.integers(100)) / 10, schema.get("maximum", 2**31)))
    if kind == "boolean":
        return bool(rng.integers(2))
    return None if kind == "null" else _WORDS[int(rng.integers(len(_WORDS)))]
