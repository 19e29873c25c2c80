"""From a server's JSON answer to a `Completion`, or to the error that it holds, whatever its shape."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metagym.models.server_streams import CutStreamError, is_stream, read_stream
from metagym.models.server_words import REASONING, REASONS, REPLY
from metagym.types import Completion, Usage, clean_text

_THINK = re.compile("|".join(rf"\s*(?:{opens})(.*?)(?:{closes}|\Z)" for opens, closes in REASONING), re.I | re.S)
_THINK_TAIL = re.compile("|".join(closes for _, closes in REASONING[:-1]), re.I)
_REPLY_OPENS, _REPLY_CLOSES = re.compile(REPLY[0]), re.compile(rf"(?:{REPLY[1]})\Z")
_STATUS = re.compile("[45][0-9]{2}")
_FAILED_REASONS = frozenset({"error", "network_error", "abort", "insufficient_system_resource"})


class ServerError(NamedTuple):
    """The content of an error, in the server's own words."""

    message: str
    codes: frozenset[str] = frozenset()
    """Its code and type, lower-cased."""
    parameter: str = ""
    status: int | None = None
    """The status that the body names, if the answer has another one."""


class ReplyError(ValueError):
    """The answer is not a whole chat completion; `error` is the server's message instead, if there was one.

    `is_cut`: it is the beginning of a stream. `has_choice`: the error came with a choice, so that a model may have
    written.
    """

    def __init__(
        self, message: str, error: ServerError | None = None, *, is_cut: bool = False, has_choice: bool = False
    ) -> None:
        super().__init__(message)
        self.error, self.is_cut, self.has_choice = error, is_cut, has_choice


def read_error(body: bytes | Any) -> ServerError:
    """Return the message of an error's body: an object, a text, a `detail`, a list, or plain text.

    >>> read_error(b'{"detail": [{"loc": ["body", "seed"], "msg": "Not an integer"}]}').message
    'body.seed: Not an integer'
    """
    text = body.decode("utf-8", "replace").strip() if isinstance(body, bytes) else "an error of many levels"
    try:
        found = _read_error(json.loads(text) if isinstance(body, bytes) else body)
    except (ValueError, RecursionError):
        found = ServerError(text[:2_000])
    return found._replace(message=clean_text(found.message))


def _read_error(body: Any) -> ServerError:
    if isinstance(body, Sequence) and not isinstance(body, str):
        found = [_read_error(part) for part in body[:5]]
        return found[0]._replace(message="; ".join(part.message for part in found)) if found else ServerError("")
    if not isinstance(body, Mapping):
        return ServerError("" if body is None else str(body)[:2_000])
    for name in ("error", "detail", "errors"):
        if body.get(name):
            inner = _read_error(body[name])
            return inner._replace(codes=inner.codes | _codes(body), status=inner.status or _status(body))
    message = next((str(body[name]) for name in ("message", "msg", "error_msg", "title") if body.get(name)), "")
    place = ".".join(map(str, body["loc"])) if isinstance(body.get("loc"), Sequence) else ""
    raw = _get(body.get("metadata"), "raw")  # OpenRouter: the provider's own words
    parts = (place, message or json.dumps(body, default=str), raw if isinstance(raw, str) else "")
    text = ": ".join(part for part in parts if part)[:2_000]
    parameter = body.get("param")
    codes = _codes(body) | _codes(body.get("innererror"))
    return ServerError(text, codes, parameter if isinstance(parameter, str) else "", _status(body))


def split_reasoning(text: str) -> tuple[str, str]:
    """Return the reasoning blocks at the head of `text`, and the reply after them.

    If a block is not closed, all of it is reasoning: the reply never began. A closing mark alone closes a block that
    the chat template opened.

    >>> split_reasoning("<think>Iron. Push?</think>\\n\\nAction: push")
    ('Iron. Push?', 'Action: push')
    """
    blocks, end = list[str](), 0
    while block := _THINK.match(text, end):
        blocks.append(block[block.lastindex or 0].strip())
        end = block.end()
    if not blocks and (tail := _THINK_TAIL.search(text)):
        blocks, end = [text[: tail.start()].strip()], tail.end()
    reply = text[end:].lstrip() if blocks else text
    if blocks and (opening := _REPLY_OPENS.match(reply)):
        reply = _REPLY_CLOSES.sub("", reply[opening.end() :].rstrip())
    return "\n\n".join(block for block in blocks if block), reply


def read_completion(body: bytes, model: str) -> tuple[Completion, bool]:
    """Return the completion in a response's body, and whether the server counted the tokens.

    A stream is read as well, if the server streams although it was not asked to. A ReplyError quotes any other body.
    """
    response = _read_body(body)
    choice = _first(_get(response, "choices"))
    message = _get(choice, "message")
    reason = _text(_get(choice, "finish_reason"))
    failure = _get(choice, "error") or (_get(response, "error") if not isinstance(message, Mapping) else None)
    if failure or reason.lower() in _FAILED_REASONS:
        error = read_error(failure or {"message": f"the reply ended with {reason!r}"})
        text = f"an error under a status of success: {error.message}"
        raise ReplyError(text, error, has_choice=choice is not None)
    finish_reason = REASONS.get(reason.lower(), reason) or "stop"
    if message is None and finish_reason == "content_filter":
        message = {}  # the filter left nothing, as in a stream
    content = _get(message, "content")
    if not isinstance(message, Mapping) or not _is_content(content):
        raise ReplyError(f"no choice with a message but {body[:200].decode(errors='replace')!r}")
    reasoning, text = split_reasoning(_text(content) or _text(message.get("refusal")))
    calls = message.get("tool_calls") or [{"function": message.get("function_call")}]  # the older form of one call
    # `reasoning_content`: DeepSeek, SGLang, vLLM, llama.cpp; `reasoning`: OpenRouter, newer vLLM.
    reported = _text(message.get("reasoning_content")) or _text(message.get("reasoning")) or _thinking(content)
    name = _text(_get(response, "model"))
    scored = _get(_get(choice, "logprobs"), "content")
    usage = read_usage(_get(response, "usage"))
    if usage is not None and not usage.completion_tokens and (text or reasoning or reported):
        usage = None  # no reply has no tokens
    return Completion(
        text=text,
        reasoning="\n\n".join(part for part in (reported, reasoning) if part),
        finish_reason=finish_reason,
        usage=usage or Usage(num_calls=1),
        model="" if name == model else name,
        token_ids=_numbers(_get(choice, "token_ids"), int),
        tool_calls=tuple(
            json.dumps(call)
            for call in (calls if isinstance(calls, list) else ())
            if _get(_get(call, "function"), "name")
        ),
        logprobs=_numbers([_get(token, "logprob") for token in scored] if isinstance(scored, list) else None, float),
    ), usage is not None


def end_at(completion: Completion, stop: Sequence[str]) -> Completion:
    """Return the reply up to the first of the strings, as if the server had stopped there."""
    ends = [end for end in map(completion.text.find, stop) if end >= 0]
    if not ends:
        return completion
    return completion.model_copy(update={"text": completion.text[: min(ends)], "finish_reason": "stop"})


def read_usage(usage: Any) -> Usage | None:
    """Return the tokens that the server counted; None if its numbers cannot be true.

    Reasoning that is counted apart from the completion belongs to it: its own count shows that, or the total.
    """
    prompt, completion = (_count(usage, name, missing=-1) for name in ("prompt_tokens", "completion_tokens"))
    total = _count(usage, "total_tokens")
    cached = _count(_get(usage, "prompt_tokens_details"), "cached_tokens")
    reasoning = _count(_get(usage, "completion_tokens_details"), "reasoning_tokens")
    is_odd = min(prompt, completion, total, cached, reasoning) < 0 or not prompt or cached > prompt
    if is_odd or 0 < total < prompt + completion:
        return None
    completion = max(completion + (reasoning if reasoning > completion else 0), total - prompt)
    return Usage(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion, num_calls=1)


def _read_body(body: bytes) -> Any:
    try:
        if is_stream(body):
            return read_stream(body)
    except CutStreamError as error:
        raise ReplyError(str(error), is_cut=True) from error
    except ValueError as error:
        raise ReplyError(str(error)) from error
    if not body.startswith(b"{"):
        lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        body = b"\n".join(line for line in lines if not line.startswith(b":"))  # comments keep a connection open
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        kind = "an empty body" if not body.strip() else f"{len(body)} bytes that are not whole JSON"
        raise ReplyError(f"{kind} ({type(error).__name__}: {error})") from error


def _codes(value: Any) -> frozenset[str]:
    found = (_get(value, name) for name in ("code", "type"))
    return frozenset(str(code).lower() for code in found if isinstance(code, str | int) and code != "")


def _status(value: Mapping[str, Any]) -> int | None:
    # LiteLLM's proxy writes the number as a text.
    found = (value.get(name) for name in ("code", "status", "status_code", "http_code"))
    return next((int(code) for code in found if isinstance(code, int | str) and _STATUS.fullmatch(str(code))), None)


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else None


def _text(value: Any) -> str:
    if isinstance(value, list):
        texts = (_get(part, "text") for part in value if _get(part, "type") == "text")
        return "".join(text for text in texts if isinstance(text, str))
    return value if isinstance(value, str) else ""


def _thinking(content: Any) -> str:
    """Return the reasoning among typed parts (Mistral)."""
    parts = content if isinstance(content, list) else ()
    return "".join(_text(_get(part, "thinking")) for part in parts if _get(part, "type") == "thinking")


def _is_content(content: Any) -> bool:
    """Return whether it is a text, None (an empty reply), or a list of typed parts; only parts of text count."""
    if isinstance(content, list):
        return all(
            isinstance(_get(part, "type"), str) and ("text" in part or part["type"] != "text") for part in content
        )
    return content is None or isinstance(content, str)


def _count(value: Any, name: str, *, missing: int = 0) -> int:
    """Return the count of that name, or -1 if it is no count."""
    count = _get(value, name)
    if count is None:
        return missing
    return count if isinstance(count, int) and not isinstance(count, bool) else -1


def _numbers(values: Any, kind: type) -> Any:
    """Return the numbers as a tuple; None if one is no number, or too large for a float."""
    try:
        if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
            return tuple(kind(value) for value in values) if all(map(math.isfinite, values)) else None
    except OverflowError:
        pass
    return None
