"""Turns of an agent with tools: the calls in a model's reply, and the steps of an episode grouped by reply.

One reply may hold several calls. Each is its own step, in the order of the reply; the first of these steps has the
reply (`Action.completion`), the others have no completion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metagym.models.tool_calling import CALL_END, CALL_START
from metagym.tools import ToolCall, read_call
from metagym.tools.calls import read_json, read_json_parts
from metagym.types import Completion, Step
from metagym.types.plain_values import plain_json

_FENCED = re.compile(r"\A```[a-z_]*\n(?P<inside>.*)\n```\Z", re.DOTALL)


class ReplyCall(NamedTuple):
    """A call as a reply holds it."""

    id: str
    """The server's id, or one that is made here: unique in the reply."""
    name: str
    arguments: dict[str, Any] | None
    """None if they cannot be read."""
    problem: str = ""
    extra: Mapping[str, Any] = {}
    """Further fields of the server, which it wants back."""

    @property
    def action(self) -> str | None:
        """The call as an action; None if it cannot be read."""
        return None if self.arguments is None else ToolCall(self.name, self.arguments).text

    @property
    def message(self) -> dict[str, Any]:
        """The call as a part of an assistant's message."""
        # Half a JSON is not sent back: servers' templates read the arguments, and fail on it.
        arguments = json.dumps(self.arguments or {}, ensure_ascii=False)
        return {
            **self.extra,
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": arguments},
        }


class ToolTurn(NamedTuple):
    """A reply, and the steps that it led to."""

    completion: Completion | None
    """None for an actor without a model."""
    thought: str
    calls: tuple[ReplyCall, ...]
    steps: tuple[Step, ...]

    @property
    def waiting(self) -> ReplyCall | None:
        """The next call that was not played yet."""
        return self.calls[len(self.steps)] if len(self.steps) < len(self.calls) else None


def turns_of(steps: Sequence[Step]) -> list[ToolTurn]:
    """Return the steps of an episode in turns."""
    turns: list[ToolTurn] = []
    for step in steps:
        if turns and step.action.completion is None and turns[-1].waiting is not None:
            turns[-1] = turns[-1]._replace(steps=(*turns[-1].steps, step))
        else:
            turns.append(_begun(step, len(turns)))
    return turns


def last_turn(steps: Sequence[Step]) -> ToolTurn | None:
    """Return the last of `turns_of(steps)`; it reads one reply only."""
    for index in range(len(steps) - 1, -1, -1):
        if steps[index].action.completion is not None:
            return turns_of(steps[index:])[-1]
    return None


def _begun(step: Step, number: int) -> ToolTurn:
    completion = step.action.completion
    if completion is None:
        call = None if step.action.text is None else read_call(step.action.text)
        calls = () if call is None else (ReplyCall(_made_id(0), call.name, call.arguments),)
        return ToolTurn(None, step.action.thought, calls, (step,))
    thought, found = read_calls(completion)
    return ToolTurn(completion, thought, found, (step,))


def read_calls(completion: Completion) -> tuple[str, tuple[ReplyCall, ...]]:
    """Return the text of a reply without its calls, and its calls, native or written as text.

    A reply that was cut off has no calls.
    """
    if not completion.is_whole:
        return completion.text.strip(), ()
    text = completion.text.strip()
    native = [_native(json.loads(item)) for item in completion.tool_calls]
    if not native:
        text, native = _written(text)
    calls, ids = [], set[str]()
    for number, call in enumerate(native):
        own = call.id if call.id and call.id not in ids else _made_id(number)
        ids.add(own)
        calls.append(call._replace(id=own))
    return text, tuple(calls)


def _made_id(number: int) -> str:
    return f"call{number:05d}"  # nine letters and digits, as Mistral wants them


def _native(item: Any) -> ReplyCall:
    """Read a call as a server sends it; `read_completion` keeps only those with a name."""
    function = item["function"]
    arguments, problem = _arguments(function.get("arguments"), str(function["name"]))
    extra = {name: value for name, value in item.items() if name not in ("id", "type", "index", "function")}
    return ReplyCall(str(item.get("id") or ""), str(function["name"]), arguments, problem, extra)


def _arguments(given: Any, name: str) -> tuple[dict[str, Any] | None, str]:
    if given is None or (isinstance(given, str) and not given.strip()):
        return {}, ""  # of a tool without arguments
    try:
        value = read_json(given) if isinstance(given, str) else plain_json(given)
    except ValueError as error:
        wrote = f" You wrote {given:.200}" if isinstance(given, str) else ""
        return None, f"The arguments of {name!r:.100} are no JSON: {error}.{wrote}"
    if isinstance(value, dict):
        return value, ""
    return None, f"The arguments of {name!r:.100} must be a JSON object, got {value!r:.200}"


def _written(text: str) -> tuple[str, list[ReplyCall]]:
    """Read calls between marks, or a text that is nothing but calls."""
    before, *parts = text.split(CALL_START)
    if parts:
        return before.strip(), [call for part in parts for call in _marked_calls(part.partition(CALL_END)[0].strip())]
    fenced = _FENCED.match(text)
    calls = _bare_calls(fenced["inside"].strip() if fenced else text)
    return ("", calls) if calls else (text, [])


def _marked_calls(text: str) -> list[ReplyCall]:
    """Return the calls between two marks: at least one, which has a problem if it cannot be read."""
    problem = f"Your call must have a name and arguments. You wrote {text:.200}"
    try:
        values = [*read_json_parts(text)]
    except ValueError as error:
        values, problem = [], f"Your call is no JSON: {error}. You wrote {text:.200}"
    unreadable = ReplyCall("", "unreadable", None, problem)
    return [_written_call(value) or unreadable for value in values or [None]]


def _bare_calls(text: str) -> list[ReplyCall]:
    """Return the calls of a text that is nothing but calls, as small models write them; empty for any other text."""
    calls: list[ReplyCall] = []
    try:
        for value in read_json_parts(text) if text.startswith(("{", "[")) else ():
            call = _written_call(value)
            if call is None or call.arguments is None or not _has_only_a_call(value):
                return []
            calls.append(call)
    except ValueError:
        return []
    return calls


def _has_only_a_call(value: Mapping[str, Any]) -> bool:
    """Return whether an object holds the fields of a call and no others; a task may ask for an answer in JSON."""
    fields = {*value, *value.get("function", ())} - {"id", "type", "function"}
    return fields in ({"name", "arguments"}, {"name", "parameters"}) and value.get("type", "function") == "function"


def _written_call(value: Any) -> ReplyCall | None:
    """Return the call that a model wrote, in any of the usual spellings; None if the value is no call."""
    function: Any = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        return None
    arguments, problem = _arguments(function.get("arguments", function.get("parameters")), name)
    return ReplyCall("", name, arguments, problem)
