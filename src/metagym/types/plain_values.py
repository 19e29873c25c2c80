"""The values that a record may hold so that it can be read back: text that UTF-8 can encode, finite numbers, JSON.

What an environment, a model or a reflector hands over is cleaned or refused here, before anything is written.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import core_schema, to_jsonable_python

MAX_DEPTH: Final = 64
"""The levels of a JSON value within a record. Readers of JSON allow 200 in all, and Python's own about 1,000."""
MAX_PARTS: Final = 200_000
"""The number of values in a JSON value: one that holds a part in many places may be endless."""
_ANY: Final[TypeAdapter[Any]] = TypeAdapter(Any)
_MAX_BITS: Final = 1_024  # of a number, as many as a float has; Python reads no more than 4,300 digits


def clean_text(text: str) -> str:
    """Return `text` with every lone surrogate, which UTF-8 cannot encode, replaced by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def plain_json(value: Any, *, odd: Callable[[Any], Any] | None = None) -> Any:
    """Return a copy of a JSON value as it is read back from a file: lists for tuples, texts for keys, None for NaN.

    Arrays and numbers of numpy are taken as lists and numbers. `odd` may give a value in place of one that is not JSON.

    Raises:
        ValueError: the value is not JSON, holds itself, or is too deep or too large.
    """
    parts = 0

    def walk(item: Any, room: int) -> Any:
        nonlocal parts
        parts += 1
        if parts > MAX_PARTS:
            raise ValueError(f"expected a JSON value of at most {MAX_PARTS:,} parts")
        if isinstance(item, str):
            return clean_text(str.__str__(item))
        if item is None or isinstance(item, bool):
            return item
        if isinstance(item, float):
            return float(item) if math.isfinite(item) else None
        if isinstance(item, int) and item.bit_length() <= _MAX_BITS:
            return int(item)
        if not room:
            raise ValueError(f"expected a JSON value of at most {MAX_DEPTH} levels; it is deeper, or holds itself")
        if isinstance(item, Mapping):
            return {_key(key, odd): walk(part, room - 1) for key, part in item.items()}
        if isinstance(item, list | tuple):
            return [walk(part, room - 1) for part in item]
        if hasattr(item, "tolist"):  # numpy
            return walk(item.tolist(), room - 1)
        if odd is None and isinstance(item, int):
            raise ValueError(f"expected numbers of at most {_MAX_BITS:,} bits, got one of {item.bit_length():,}")
        if odd is None:
            raise ValueError(f"expected JSON, got a {type(item).__name__} in it: write it as text, numbers and lists")
        return walk(odd(item), room - 1)

    return walk(value, MAX_DEPTH)


def shared_json(value: Any) -> Any:
    """Return a JSON value as it is read back from a file; equal values are one object, which nobody may change.

    It is much faster than `plain_json` for large values that are handed over often, such as the schemas of tools.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = "\\ud"
    return plain_json(value) if "\\ud" in text else _read_shared(text)  # a half character, or no JSON


@functools.lru_cache(maxsize=256)
def _read_shared(text: str) -> Any:
    return plain_json(json.loads(text))


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""A place in memory, which differs from process to process."""


def _key(key: Any, odd: Callable[[Any], Any] | None) -> str:
    if isinstance(key, str):
        return clean_text(str.__str__(key))
    if odd is None and not isinstance(key, int):
        raise ValueError(f"expected texts as keys of JSON, got a {type(key).__name__}")
    return clean_text(str(key))


def without_sets(value: Any) -> Any:
    """Return a value with its sets as sorted lists: their own order differs from process to process.

    >>> without_sets({"seen": {"lamp", "door"}})
    {'seen': ['door', 'lamp']}
    """
    if isinstance(value, set | frozenset):
        return sorted(map(without_sets, value), key=lambda item: json.dumps(to_jsonable_python(item, fallback=str)))
    if isinstance(value, dict):
        return {name: without_sets(item) for name, item in value.items()}
    if isinstance(value, list | tuple | deque | Iterator):
        return list(map(without_sets, value))
    if hasattr(value, "__pydantic_serializer__") and not isinstance(value, type):
        try:
            plain = _ANY.dump_python(value)
        except TypeError:  # a set of models cannot be a set of dicts
            plain = dict(vars(value))
        return without_sets(plain) if _holds_set(plain) else value  # some serializers are for JSON alone
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: without_sets(getattr(value, field.name)) for field in fields(value)}
    return value


def _holds_set(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | deque) else ()
    return isinstance(value, set | frozenset) or any(map(_holds_set, parts))


def _in_words(item: Any) -> Any:
    try:
        return to_jsonable_python(without_sets(item))  # a set, a date, a dataclass
    except Exception:
        return _ADDRESS.sub("", str(item))


def plain_display(value: Any) -> Any:
    """Return a viewer's data as JSON, with words for other values: an odd value must not break a record."""
    try:
        return plain_json(value, odd=_in_words)
    except Exception as error:  # it is the environment's own code that turns values into words
        return f"not JSON: {type(error).__name__}: {clean_text(str(error))[:200]}"


def _clean_display(value: Any) -> Any:
    return None if value is None else plain_display(value)


def _clean_json(value: Any) -> Any:
    return plain_json(value)


@dataclass(frozen=True)
class _FromPython:
    """Cleans a value that comes from Python. A value that is read from JSON needs nothing: UTF-8 has no surrogates."""

    clean: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        plain = handler(source)
        cleaned = core_schema.no_info_after_validator_function(self.clean, plain)
        return core_schema.json_or_python_schema(json_schema=plain, python_schema=cleaned)


Text = Annotated[str, _FromPython(clean_text)]
"""A lone surrogate passes pydantic and then breaks the dump to JSON: it is replaced on the way in."""
Texts = tuple[Text, ...]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Json = Annotated[Any, AfterValidator(_clean_json)]
"""A JSON value as it is read back from a file, so that a record equals its round trip."""
SharedJson = Annotated[Any, AfterValidator(shared_json)]
"""A large JSON value that is handed over often."""
Display = Annotated[Any, _FromPython(_clean_display)]
