"""From the bytes of a stream of chunks to the one response that they make up. It knows no HTTP."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_DONE = b"[DONE]"
_DATA = (b"data:", b"error:")  # llama.cpp sent errors in their own field
_OTHER_FIELDS = (b"event:", b"id:", b"retry:", b":")
_ERROR_NAMES = ("error", "detail", "errors", "message", "error_type")
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


def is_stream(body: bytes) -> bool:
    """Return whether an answer is a stream of events. Comments alone, which keep a connection open, do not make one."""
    return not body.startswith(b"{") and any(line.startswith(_DATA) for line in _lines(body))


class CutStreamError(ValueError):
    """The stream has a beginning and no end."""


def is_whole_stream(body: bytes) -> bool:
    """Return whether a stream has reached its end, so that nothing is lost if the connection breaks now."""
    if not is_stream(body):
        return False
    try:
        read_stream(body)
    except ValueError:
        return False
    return True


def read_stream(body: bytes) -> dict[str, Any]:
    """Return a stream of chunks as the response that it makes up.

    Only the first choice is read. An error in the stream is the choice's `error`, or the response's if there is no
    choice.

    Raises:
        CutStreamError: the stream has no end: no `[DONE]`, no `finish_reason`, no error.
        ValueError: a line is not JSON, or there is no choice.
    """
    lines = _lines(body)
    try:
        chunks = [json.loads(data) for data in _lines_of_data(lines)]  # servers send one chunk a line
    except (ValueError, RecursionError):
        chunks = [_load(data) for data in _events(lines)]
    whole = _Whole()
    for chunk in chunks:
        whole.add(chunk)
    is_done = any(line.startswith(b"data:") and _data_of(line) == _DONE for line in lines[-16:])
    if not (is_done or whole.choice["finish_reason"] or whole.choice["error"]):
        whole.add(_error_outside(lines))
    if not (is_done or whole.choice["finish_reason"] or whole.choice["error"]):
        raise CutStreamError(f"a stream without an end ({len(chunks)} chunks)")
    if not (whole.num_choices or whole.choice["error"]):
        raise ValueError("a stream without a choice")
    return whole.response()


def _lines(body: bytes) -> list[bytes]:
    return body.removeprefix(codecs.BOM_UTF8).splitlines()


class _Whole:
    """The response so far."""

    def __init__(self) -> None:
        self.choice: dict[str, Any] = {"finish_reason": None, "error": None}
        self.num_choices = 0
        self._about: dict[str, Any] = {"model": None, "usage": None}
        self._texts: dict[str, list[Any]] = {name: [] for name in _TEXTS}
        self._tool_calls: list[dict[str, Any]] = []
        self._call_at: dict[Any, dict[str, Any]] = {}
        """The last call at each index."""
        self._logprobs: list[Any] = []
        self._token_ids: list[Any] = []

    def add(self, chunk: Any) -> None:
        """Add the next chunk, whatever its shape."""
        if not isinstance(chunk, Mapping):
            self.choice["error"] = self.choice["error"] or chunk
            return
        is_ended = self.choice["finish_reason"]  # an error after the end takes nothing from the reply
        for name in self._about:
            self._about[name] = chunk.get(name) or self._about[name]
        is_error = chunk.get("error") or ("choices" not in chunk and any(chunk.get(name) for name in _ERROR_NAMES))
        if is_error and not is_ended:
            self.choice["error"] = self.choice["error"] or chunk.get("error") or dict(chunk)
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and choice.get("index") in (0, None):
                self._add_choice(choice)

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        self.num_choices += 1
        self.choice["error"] = choice.get("error") or self.choice["error"]
        if self.choice["finish_reason"] in (None, "", "stop"):  # a "stop" at the very end hides no "length"
            self.choice["finish_reason"] = choice.get("finish_reason") or self.choice["finish_reason"]
        delta = choice.get("delta")
        delta = delta if isinstance(delta, Mapping) else choice.get("message")
        if isinstance(delta, Mapping):
            for name, parts in self._texts.items():
                if delta.get(name):
                    parts.append(delta[name])
            self._add_tool_calls(delta)
        scored = choice.get("logprobs")
        if isinstance(scored, Mapping) and isinstance(scored.get("content"), list):
            self._logprobs += scored["content"]
        if isinstance(choice.get("token_ids"), list):
            self._token_ids += choice["token_ids"]

    def _add_tool_calls(self, delta: Mapping[str, Any]) -> None:
        parts = delta.get("tool_calls")
        if isinstance(delta.get("function_call"), Mapping):  # the older form of one call
            parts = [{"index": 0, "function": delta["function_call"]}]
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            if not isinstance(part, Mapping):
                continue
            index = part["index"] if isinstance(part.get("index"), int) else number
            known, function = self._call_at.get(index), part.get("function")
            is_named = isinstance(function, Mapping) and bool(function.get("name"))
            # Gemini gives all calls the index 0, and some servers give no index: another id is another call, if the
            # part names its tool. Older versions of vLLM give each part of a call another id.
            if known is None or (is_named and part.get("id") and known.get("id") not in (None, part["id"])):
                known = self._call_at[index] = {"function": {}}
                self._tool_calls.append(known)
            # Further fields (Gemini's signature of a thought) belong to the call, and are sent back with it.
            kept = {"index", "function", *(("id",) if known.get("id") else ())}
            known |= {name: value for name, value in part.items() if name not in kept and value}
            old = known["function"]
            if isinstance(function, Mapping):
                old["name"] = old.get("name") or function.get("name")
                old.setdefault("arguments", []).append(function.get("arguments") or "")

    def response(self) -> dict[str, Any]:
        """Return it as the server would have sent it without a stream."""
        if not self.num_choices:
            return {**self._about, "choices": [], "error": self.choice["error"]}
        message: dict[str, Any] = {"role": "assistant"} | {name: _joined(parts) for name, parts in self._texts.items()}
        if self._tool_calls:
            message["tool_calls"] = self._tool_calls
            for call in message["tool_calls"]:
                parts = call["function"].get("arguments", [])
                is_text = all(isinstance(part, str) for part in parts)
                call["function"]["arguments"] = "".join(parts) if is_text else parts[-1]
        choice = {**self.choice, "message": message, "token_ids": self._token_ids or None}
        return {**self._about, "choices": [{**choice, "logprobs": {"content": self._logprobs or None}}]}


def _joined(parts: Iterable[Any]) -> Any:
    """Return texts as one text, and lists of typed parts as one list."""
    found = [part for part in parts if part]
    if all(isinstance(part, str) for part in found):
        return "".join(found)
    typed: list[Any] = []
    for part in found:
        typed += part if isinstance(part, list) else [{"type": "text", "text": part}]
    return typed


def _error_outside(lines: Sequence[bytes]) -> dict[str, Any]:
    """Return the error that a proxy wrote as plain JSON after the last event; empty without such an error."""
    rest = b"\n".join(line for line in lines if not line.startswith((*_DATA, *_OTHER_FIELDS)))
    try:
        found = json.loads(rest)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _data_of(line: bytes) -> bytes:
    return line.partition(b":")[2].strip()


def _lines_of_data(lines: Sequence[bytes]) -> Iterable[bytes]:
    data = (_data_of(line) for line in lines if line.startswith(_DATA))
    return (content for content in data if content not in (b"", _DONE))


def _events(lines: Sequence[bytes]) -> Iterable[bytes]:
    """Yield the data of each event, which may have several lines; an empty line ends it."""
    data: list[bytes] = []
    for line in [*lines, b""]:
        if line.startswith(_DATA):
            data.append(_data_of(line))
        elif not line and data:
            if (event := b"\n".join(data)) not in (b"", _DONE):
                yield event
            data = []


def _load(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a stream with a line that is not JSON: {data[:200]!r}") from error
