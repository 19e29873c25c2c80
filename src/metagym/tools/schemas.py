"""Schemas of tools: made from typed functions, and checked; and values checked against a JSON schema."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError, SchemaValidator, core_schema

from metagym.errors import ConfigError, in_words
from metagym.types.plain_values import plain_json

Schema = Mapping[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # a tool's name by the rules of the OpenAI API
_SECTION = re.compile(r"^[ \t]*(?:Args|Arguments|Parameters|Returns|Raises|Yields|Examples?):[ \t]*$", re.M)
_ARGUMENT = re.compile(r"^(?P<indent>[ \t]*)(?P<name>\w+)(?:[ \t]*\([^)\n]*\))?:[ \t]*(?P<text>.*)$")
_MAX_LEVELS: Final = 64
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}

_BOUNDS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", operator.ge),
    "maximum": ("at most", operator.le),
    "exclusiveMinimum": ("above", operator.gt),
    "exclusiveMaximum": ("below", operator.lt),
}


def tool_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the schema of a typed function in the form of the OpenAI protocol.

    The name and the first paragraphs of the docstring are the tool's name and description. An argument's type is that
    of its annotation, as pydantic reads it; its description is a text in `Annotated`, else its line under `Args:`.

    >>> def refund(order: Annotated[int, "The number of the order."], fast: bool = False) -> str:
    ...     '''Pay a customer back.'''
    >>> tool_schema(refund)["function"]["parameters"]["properties"]["order"]
    {'description': 'The number of the order.', 'type': 'integer'}
    """
    text, arguments = _read_docstring(inspect.getdoc(function) or "")
    model = arguments_of(function)
    with _describing(function):
        parameters = _plain(model.model_json_schema())
    for name, about in parameters.get("properties", {}).items():
        if name in arguments:
            about.setdefault("description", arguments[name])
    about_function = {"name": function.__name__, "description": text, "parameters": parameters}
    return {"type": "function", "function": about_function}


def arguments_of(function: Callable[..., Any]) -> type[BaseModel]:
    """Return the model of a call's arguments: its fields are the parameters, with the parameter's name as the alias."""
    name = function.__name__
    with _describing(function):
        hints, fields = get_type_hints(function, include_extras=True), dict[str, Any]()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"The tool {name!r} must name each parameter, got {parameter}.")
        if parameter.name not in hints:
            raise ConfigError(f"The tool {name!r} needs a type for each parameter: write {parameter.name}: str, say.")
        hint = _described(hints[parameter.name])
        default = ... if parameter.default is parameter.empty else parameter.default
        # A field with the parameter's name could hide a method of the model, such as `copy`.
        fields[f"argument_{len(fields)}"] = (hint, Field(default=default, alias=parameter.name))
    with _describing(function):
        return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)


@contextlib.contextmanager
def _describing(function: Callable[..., Any]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        why = error.message if isinstance(error, PydanticUserError) else in_words(error)
        raise ConfigError(
            f"A type of the tool {function.__name__!r} has no JSON schema: {why.rstrip('.')}. Write a type that "
            "pydantic reads from JSON, such as int, list[str] or a dataclass, and import it in the module of the tool."
        ) from error


def tools_problem(tools: Any) -> str:
    """Return why a value is no list of tools; empty if it is one.

    >>> tools_problem([{"name": "refund"}])
    "expected {'type': 'function', 'function': {'name': ..., 'parameters': {...}}}, got {'name': 'refund'}"
    """
    if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence):
        return f"expected a tuple of schemas, got {tools!r:.200}"
    names: set[str] = set()
    for item in tools:
        try:
            problem = _tool_problem(json.dumps(item))
        except (TypeError, ValueError, RecursionError) as error:
            problem = f"expected a schema in JSON, got {item!r:.200} ({error})"
        if problem:
            return problem
        name = item["function"]["name"]
        if name in names:
            return f"expected different names, got {name!r} twice"
        names.add(name)
    return ""


@functools.lru_cache(maxsize=1024)
def _tool_problem(text: str) -> str:
    item = json.loads(text)
    function = item.get("function") if isinstance(item, Mapping) else None
    if not isinstance(function, Mapping) or item.get("type") != "function" or "name" not in function:
        form = "{'type': 'function', 'function': {'name': ..., 'parameters': {...}}}"
        return f"expected {form}, got {item!r:.200}"
    name, parameters = function["name"], function.get("parameters", {})
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"expected a name of 1 to 64 letters, digits, _ and -, got {name!r:.200}"
    if not isinstance(function.get("description", ""), str):
        return f"expected the description of {name!r} as a text, got {function['description']!r:.200}"
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        return f"expected the parameters of {name!r} as the JSON schema of an object, got {parameters!r:.200}"
    try:
        plain_json(item)
    except ValueError as error:
        return f"the schema of {name!r} is no JSON: {error}"
    return ""


def value_problem(value: Any, schema: Schema, *, place: str = "") -> str:
    """Return why a JSON value does not fit a JSON schema; empty if it fits.

    A keyword that is not known, or whose value is of a wrong type, is passed over.

    Checked are types, `enum`, `const`, `required`, `properties`, `additionalProperties`, `items`, `prefixItems`, the
    bounds of numbers and of lengths, `pattern`, `anyOf`, `oneOf`, `allOf`, and references within the schema.

    >>> value_problem({"order": "17"}, {"properties": {"order": {"type": "integer"}}, "required": ["order", "why"]})
    "'why' is missing"
    """
    return _problem(value, schema, place, schema, _MAX_LEVELS)


def _problem(value: Any, schema: Any, place: str, root: Schema, levels: int) -> str:
    if not isinstance(schema, Mapping) or not levels:
        return "" if schema is not False else f"{_named(place)} is not allowed"
    if isinstance(reference := schema.get("$ref"), str):
        return _problem(value, resolved(reference, root), place, root, levels - 1)
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else _texts(kinds)
    if kinds and not any(_TYPES.get(kind, lambda _: True)(value) for kind in kinds):
        return f"{_named(place)} must be of type {' or '.join(kinds)}, got {value!r:.100}"
    if isinstance(allowed := schema.get("enum"), list) and value not in allowed:
        return f"{_named(place)} must be one of {', '.join(map(repr, allowed))}, got {value!r:.100}"
    if "const" in schema and value != schema["const"]:
        return f"{_named(place)} must be {schema['const']!r}, got {value!r:.100}"
    for name in ("anyOf", "oneOf"):
        if isinstance(forms := schema.get(name), list):
            found = [_problem(value, form, place, root, levels - 1) for form in forms]
            if found and all(found):
                return found[0] if len(found) == 1 else f"{_named(place)} has none of the allowed forms: {found[0]}"
    forms = schema.get("allOf")
    parts = [
        _problem(value, form, place, root, levels - 1) for form in (forms if isinstance(forms, list | tuple) else ())
    ]
    parts += [_bounds(value, schema, place)]
    if isinstance(value, Mapping):
        parts += _object_problems(value, schema, place, root, levels)
    elif isinstance(value, list | tuple):
        items = enumerate(value)
        parts += [_problem(item, items_of(schema, n), f"{place}[{n}]", root, levels - 1) for n, item in items]
    return next(filter(None, parts), "")


def _object_problems(value: Mapping[str, Any], schema: Schema, place: str, root: Schema, levels: int) -> list[str]:
    known = properties_of(schema)
    inside = f"{place}." if place else ""
    found = [f"{_named(inside + name)} is missing" for name in required_in(schema) if name not in value]
    rest = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in known or isinstance(rest, Mapping):
            found.append(_problem(item, known.get(name, rest), f"{inside}{name}", root, levels - 1))
        elif rest is False:
            found.append(f"{_named(inside + name)} is unknown; known are {', '.join(map(repr, known)) or 'no names'}")
    return found


def properties_of(schema: Schema) -> Mapping[str, Any]:
    """Return the schemas of an object's properties by name."""
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def required_in(schema: Schema) -> list[str]:
    """Return the names of the properties that an object must have; the `true` of old schemas names no property."""
    return _texts(schema.get("required"))


def items_of(schema: Schema, number: int) -> Any:
    """Return the schema of an array's item, which may have its own by its place."""
    first = schema.get("prefixItems")
    if isinstance(first, list | tuple) and number < len(first):
        return first[number]
    return schema.get("items", {})


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list | tuple) else []


def _bounds(value: Any, schema: Schema, place: str) -> str:
    if _TYPES["number"](value):
        for name, (word, holds) in _BOUNDS.items():
            bound: Any = schema.get(name)
            if _TYPES["number"](bound) and not holds(value, bound):
                return f"{_named(place)} must be {word} {bound}, got {value}"
    if isinstance(value, str | list | tuple):
        kind, parts = ("Length", "characters") if isinstance(value, str) else ("Items", "items")
        bounds = (schema.get(f"min{kind}", 0), schema.get(f"max{kind}", math.inf))
        least, most = (
            bound if _TYPES["number"](bound) else default for bound, default in zip(bounds, (0, math.inf), strict=True)
        )
        if not least <= len(value) <= most:
            return f"{_named(place)} must have {least} to {most} {parts}, got {len(value)}"
    if isinstance(value, str) and isinstance(pattern := schema.get("pattern"), str):
        texts = _texts_matching(pattern)
        if texts is not None and not texts.isinstance_python(value):
            return f"{_named(place)} must match {pattern!r}, got {value!r:.100}"
    return ""


@functools.lru_cache(maxsize=256)
def _texts_matching(pattern: str) -> SchemaValidator | None:
    """Return pydantic's check of a pattern, whose time is linear: Python's own can take hours over a short text."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:  # a regular expression of another language
        return None


def resolved(reference: str, root: Schema) -> Any:
    """Return the part of a schema that a reference (`#/$defs/Size`) names; {} if it is not in this schema."""
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if reference.startswith("#") else {}


def _named(place: str) -> str:
    return repr(place) if place else "the value"


def _described(hint: Any) -> Any:
    """Return the annotation with a text in `Annotated` as the description."""
    if get_origin(hint) is not Annotated:
        return hint
    texts = [item for item in get_args(hint)[1:] if isinstance(item, str)]
    return Annotated[hint, Field(description=texts[0])] if texts else hint


def _plain(schema: Any) -> Any:
    """Return the schema without the titles that pydantic makes of names. An argument may be named `title`."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    is_title = isinstance(schema.get("title"), str)
    return {name: _plain(value) for name, value in schema.items() if not (is_title and name == "title")}


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return a docstring's text before its first section, and the descriptions under `Args:`."""
    sections = list(_SECTION.finditer(text))
    described: dict[str, str] = {}
    for section, after in zip(sections, [*sections[1:], None], strict=False):
        if section[0].strip() not in ("Args:", "Arguments:", "Parameters:"):
            continue
        indent, name = None, ""
        for line in text[section.end() : after.start() if after else None].strip("\n").splitlines():
            found = _ARGUMENT.match(line)
            if found and (indent is None or len(found["indent"]) <= indent):
                indent, name = len(found["indent"]), found["name"]
                described[name] = found["text"].strip()
            elif name and line.strip():
                described[name] += f" {line.strip()}"
    head = text[: sections[0].start()] if sections else text
    return " ".join(head.split()), described
