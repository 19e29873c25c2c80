"""A chat model for tests: it takes its replies from a list or a function, and keeps its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metagym.models import Call
from metagym.types import Completion, Message, Usage

Respond = Callable[[Sequence[Message], Call], str | Completion]


class FakeChatModel:
    """A chat model without a language model: a function of the conversation, or a list of replies for its turns.

    It takes the reply from the list by the number of the assistant's turns so far, so that concurrent episodes do
    not disturb each other. It raises an exception in the list. `calls` keeps all calls.
    """

    scripted = True

    def __init__(self, replies: Respond | Sequence[str | Completion | Exception]) -> None:
        self._replies = replies
        self.calls: list[tuple[list[Message], Call]] = []
        self.fingerprint = {"kind": "FakeChatModel"}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the reply."""
        self.calls.append((list(messages), call))
        if callable(self._replies):
            reply: str | Completion | Exception = self._replies(messages, call)
        else:
            turn = sum(message["role"] == "assistant" for message in messages)
            reply = self._replies[min(turn, len(self._replies) - 1)]
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Completion):
            return reply
        num_words = sum(len(message["content"].split()) for message in messages)
        usage = Usage(prompt_tokens=num_words, completion_tokens=len(reply.split()), num_calls=1)
        return Completion(text=reply, usage=usage)
