"""One call of a tool: its canonical JSON, which is an action, and whether it fits the tools that are offered."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from metagym.tools.schemas import value_problem
from metagym.types.plain_values import plain_json

Tool = Mapping[str, Any]
"""A tool's schema, as in the OpenAI protocol."""


class ToolCall(NamedTuple):
    """A call of a tool.

    >>> call = ToolCall("refund", {"order": 17})
    >>> call.text, str(call), read_call(call.text) == call
    ('{"name": "refund", "arguments": {"order": 17}}', 'refund(order=17)', True)
    """

    name: str
    arguments: dict[str, Any]

    @property
    def text(self) -> str:
        """The call as an action: canonical JSON, with the arguments sorted by name."""
        arguments = json.dumps(self.arguments, ensure_ascii=False, sort_keys=True)
        return f'{{"name": {json.dumps(self.name, ensure_ascii=False)}, "arguments": {arguments}}}'

    def __str__(self) -> str:
        given = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.arguments.items())
        return f"{self.name}({', '.join(given)})"


def read_call(text: str) -> ToolCall | None:
    """Return the call that an action is; None if the action is plain text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = read_json(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.keys() != {"name", "arguments"}:
        return None
    name, arguments = value["name"], value["arguments"]
    return ToolCall(name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None


def read_json(text: str) -> Any:
    """Return the JSON value of a text that a model wrote, or raise ValueError."""
    try:
        return plain_json(json.loads(text, parse_constant=_no_number))
    except RecursionError as error:
        raise ValueError("its brackets are too deep") from error


def read_json_parts(text: str) -> Iterator[Any]:
    """Yield the JSON values of a text, which come one after another or in a list, or raise ValueError."""
    at = 0
    while True:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except RecursionError as error:
            raise ValueError("its brackets are too deep") from error
        value = plain_json(value)
        yield from value if isinstance(value, list) else (value,)
        gap = _GAP.match(text, end)
        at = gap.end() if gap else end
        if at == len(text):
            return


def call_problem(call: ToolCall, tools: Sequence[Tool]) -> str:
    """Return why a call does not fit the tools; empty if it fits.

    >>> call_problem(ToolCall("refnd", {}), [{"type": "function", "function": {"name": "refund"}}])
    "There is no tool 'refnd'. Did you mean 'refund'?"
    """
    known = {tool["function"]["name"]: tool["function"] for tool in tools}
    if call.name not in known:
        close = difflib.get_close_matches(call.name, known, 1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Tools: {', '.join(known) or 'there are no tools now'}."
        return f"There is no tool {call.name!r:.100}. {hint}"
    problem = value_problem(call.arguments, known[call.name].get("parameters") or {})
    return f"The arguments of {call.name!r} are wrong: {problem}." if problem else ""


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
_GAP = re.compile(r"[ \t\r\n,;]+")
