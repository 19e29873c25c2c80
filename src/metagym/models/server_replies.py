"""From a server's JSON answer to a `Completion`: the reply, the reasoning apart from it, the token counts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from metagym.types import Completion, Usage

_THINK = re.compile(r"\A\s*<(?P<tag>think|thinking|reasoning)>(?P<inside>.*?)(?:</(?P=tag)>|\Z)", re.DOTALL)
_THINK_TAIL = re.compile(r"\A(?P<inside>.*?)</think>", re.DOTALL)

_OVERFLOW_SIGNS = (
    "context_length_exceeded",
    "exceed_context_size",
    "maximum context length",
    "maximum model length",
    "max_model_len",
    "context window",
    "context size",
    "context length",
    "prompt is too long",
    "input is too long",
    "input length",
)


class ReplyError(ValueError):
    """The answer is not a whole chat completion."""


def is_overflow(text: str) -> bool:
    """Return whether an error's text says that the conversation is too long for the model.

    >>> is_overflow("This model's maximum context length is 4096 tokens.")
    True
    """
    lowered = text.lower()
    return any(sign in lowered for sign in _OVERFLOW_SIGNS)


def split_reasoning(text: str) -> tuple[str, str]:
    """Return the reasoning block at the head of `text`, and the reply after it.

    If a block is not closed, all of it is reasoning: the reply never began. `</think>` alone closes a block that
    the chat template opened.

    >>> split_reasoning("<think>Iron. Push?</think>\\n\\nAction: push")
    ('Iron. Push?', 'Action: push')
    """
    if "<" not in text:
        return "", text
    found = _THINK.match(text) or (None if "<think>" in text else _THINK_TAIL.match(text))
    return (found["inside"].strip(), text[found.end() :].lstrip()) if found else ("", text)


def read_completion(body: bytes, model: str) -> tuple[Completion, bool]:
    """Return the completion in a response's body, and whether the server counted the tokens.

    Raises:
        ReplyError: it is not JSON, or holds no choice; the message quotes it.
    """
    try:
        response = json.loads(body)
    except ValueError as error:
        kind = "an empty body" if not body.strip() else f"{len(body)} bytes that are not whole JSON"
        raise ReplyError(f"{kind} ({error})") from error
    choice = _first(_get(response, "choices"))
    message = _get(choice, "message")
    content = _get(message, "content")
    if not isinstance(message, Mapping) or "content" not in message or not _is_content(content):
        raise ReplyError(f"no choice with a message but {body[:200].decode(errors='replace')!r}")
    usage = _get(response, "usage")
    reasoning, text = split_reasoning(_text(content))
    # `reasoning_content`: DeepSeek, SGLang, vLLM, llama.cpp; `reasoning`: OpenRouter, newer vLLM.
    reported = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    name = _text(_get(response, "model"))
    return Completion(
        text=text,
        reasoning="\n\n".join(part for part in (reported, reasoning) if part),
        finish_reason=_text(_get(choice, "finish_reason")) or "stop",
        usage=_read_usage(usage),
        model="" if name == model else name,
        token_ids=_numbers(_get(choice, "token_ids"), int),
        logprobs=_numbers(_logprobs(choice), float),
    ), isinstance(usage, Mapping)


def _read_usage(usage: Any) -> Usage:
    return Usage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_count(_get(usage, "prompt_tokens_details"), "cached_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        num_calls=1,
    )


def _logprobs(choice: Any) -> Any:
    content = _get(_get(choice, "logprobs"), "content")
    return [_get(token, "logprob") for token in content] if isinstance(content, list) else None


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(_text(part["text"]) for part in value if part["type"] == "text")
    return value if isinstance(value, str) else ""


def _is_content(content: Any) -> bool:
    """Return whether it is a text, None (an empty reply), or a list of typed parts; only parts of text count."""
    if isinstance(content, list):
        return all(
            isinstance(_get(part, "type"), str) and ("text" in part or part["type"] != "text") for part in content
        )
    return content is None or isinstance(content, str)


def _count(value: Any, name: str) -> int:
    count = _get(value, name)
    return count if isinstance(count, int) and count > 0 else 0


def _numbers(values: Any, kind: type) -> Any:
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        return None
    return tuple(kind(value) for value in values)
