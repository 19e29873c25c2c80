"""What a client found out about its server by asking once: the roles and fields that it takes, whether it streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metagym.models.server_failures import Failure
from metagym.models.server_words import has_meaning
from metagym.types import Completion

_STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_SCORES = ("logprobs", "return_token_ids")
"""Fields of `sampling` that ask for log-probabilities and token ids."""


class ServerProfile:
    """The requests that a server takes.

    A refused request costs nothing, so that the first one may find out what the server takes; all later requests are
    made accordingly. Nothing here changes what a model replies.
    """

    def __init__(self, *, stream: bool) -> None:
        self._streams: bool | None = None if stream else False
        """Whether it streams, with a count of the tokens; None while that is not known."""
        self._may_stream = stream
        self._renamed: dict[str, str] = {}
        self._has_system_role = True

    def body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request as this server takes it."""
        body = {self._renamed.get(name, name): value for name, value in request.items()}
        if not self._has_system_role:
            body["messages"] = merge_system(body["messages"])
        return body if self._streams is False else body | _STREAM

    def learn_failure(self, failure: Failure, request: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
        """Learn from a request that failed, sent as `sent`; return whether to make another one at once."""
        message, parameter = failure.message, failure.parameter
        if has_meaning("system role", message):
            self._has_system_role = False  # some chat templates (Gemma) know none
        if parameter == "max_tokens" and "max_completion_tokens" in message:
            self._renamed["max_tokens"] = "max_completion_tokens"  # newer models of OpenAI
        is_refused = not failure.may_pass or failure.kind == "HTTP 501"
        is_no_stream = failure.kind == "broken reply" and "stream" in sent and self._streams is None
        if is_no_stream or (is_refused and "stream" in sent and has_meaning("stream", f"{parameter} {message}")):
            self._streams = False
        elif is_refused and "stream" not in sent and has_meaning("only streams", message):
            self._streams = self._may_stream
        return (is_refused or is_no_stream) and self.body(request) != sent

    def learn_reply(
        self, completion: Completion, sent: Mapping[str, Any], *, is_stream: bool, is_counted: bool
    ) -> bool:
        """Learn from a reply; return whether to ask again, because a stream left out what was asked for."""
        if "stream" not in sent:
            return False
        lacks_scores = any(sent.get(name) for name in _SCORES) and not (completion.token_ids or completion.logprobs)
        if is_stream and lacks_scores and completion.text:
            self._streams = False
            return True
        if is_stream and is_counted:
            self._streams = True
        elif self._streams is None:
            self._streams = False
        return False


def merge_system(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the conversation with the system message at the head of the first user message."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    others = [dict(message) for message in messages if message["role"] != "system"]
    if others and system:
        others[0]["content"] = "\n\n".join([*system, others[0]["content"]])
    return others
