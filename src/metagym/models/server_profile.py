"""What a client found out about its server by asking once: the roles and fields that it takes, whether it streams."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from metagym.errors import ConversationError
from metagym.models.server_failures import Failure
from metagym.models.server_words import has_meaning
from metagym.types import Completion

SystemRole = Literal["auto", "system", "user"]
_STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_SCORES = ("logprobs", "return_token_ids")
"""Fields of `sampling` that ask for log-probabilities and token ids."""


class ServerProfile:
    """The requests that a server takes.

    A refused request costs nothing, so that the first one may find out what the server takes; all later requests are
    made accordingly. Nothing here changes what a model replies.
    """

    def __init__(self, system_role: SystemRole, *, stream: bool, needs_stop: bool) -> None:
        self._streams: bool | None = None if stream else False
        """Whether it streams, with a count of the tokens; None while that is not known."""
        self._may_stream = stream
        self._renamed: dict[str, str] = {}
        self._system_role = system_role
        self._needs_stop, self._takes_stop = needs_stop, True

    def body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request as this server takes it."""
        body = {self._renamed.get(name, name): value for name, value in request.items()}
        if not self._takes_stop:
            body.pop("stop", None)
        body["messages"] = in_turns(body["messages"], system_role=self._system_role != "user")
        return body if self._streams is False else body | _STREAM

    def learn_failure(self, failure: Failure, request: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
        """Learn from a request that failed, sent as `sent`; return whether to make another one at once."""
        message, parameter = failure.message, failure.parameter
        if self._system_role == "auto" and has_meaning("system role", message):
            self._system_role = "user"  # some chat templates (Gemma) know no other
        if parameter == "max_tokens" and "max_completion_tokens" in message:
            self._renamed["max_tokens"] = "max_completion_tokens"  # newer models of OpenAI
        is_final = not failure.may_pass and not issubclass(failure.error, ConversationError)
        is_refused = is_final or failure.kind == "HTTP 501"
        if is_refused and "stop" in sent and has_meaning("stop", f"{parameter} {message}"):
            self._takes_stop = self._needs_stop
        is_no_stream = failure.kind == "broken reply" and "stream" in sent and self._streams is None
        if is_no_stream or (is_refused and "stream" in sent and has_meaning("stream", f"{parameter} {message}")):
            self._streams = False
        elif is_refused and "stream" not in sent and has_meaning("only streams", message):
            self._streams = self._may_stream
        return (is_refused or is_no_stream) and self.body(request) != sent

    def learn_reply(
        self, completion: Completion, sent: Mapping[str, Any], *, is_stream: bool, is_counted: bool
    ) -> bool:
        """Learn from a reply; return whether to ask again, because the way of asking spoiled it."""
        if "stop" in sent and completion.reasoning and not self._needs_stop:
            # Many servers look for the strings in the reasoning, too. The reply never began if they found one there.
            self._takes_stop = False
            if not completion.text.strip() and completion.finish_reason == "stop":
                return True
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


def in_turns(messages: Sequence[Mapping[str, str]], *, system_role: bool = True) -> Sequence[Mapping[str, str]]:
    """Return the conversation with neighbours of one role as one message, as strict chat templates want it.

    Without a `system_role` the system message is the head of the first user message.
    """
    roles = [message["role"] for message in messages]
    if not system_role:
        roles = ["user" if role == "system" else role for role in roles]
    if system_role and all(role != other for role, other in itertools.pairwise(roles)):
        return messages
    turns: list[dict[str, str]] = []
    for role, message in zip(roles, messages, strict=True):
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += "\n\n" + message["content"]
        else:
            turns.append({**message, "role": role})
    return turns
