"""The chat model: one method. It knows nothing of servers, episodes or prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from metagym.types import Completion, Message


class Call(NamedTuple):
    """Who calls a model, and with which seed: the key of ledgers and caches."""

    role: str
    """`actor`, `reflector` or `judge`."""
    arm: str = ""
    meta_step: int = 0
    seed: int = 0
    """The seed of the sampling; sent to servers that take one."""
    repetition: int = 0
    stop: tuple[str, ...] = ()
    """Strings that end the reply: a wish of the caller, which the model's own sampling overrides."""

    @property
    def caller(self) -> tuple[str | int, ...]:
        """Who calls, without the wish."""
        return self[:-1]


class ChatModel(Protocol):
    """Completes a conversation.

    An implementation keeps nothing between calls that changes a reply, so one object serves all concurrent
    episodes. `ask` books its calls. A model that books its own attempts, with their retries, has the attribute
    `keeps_ledger = True`. A budget in tokens needs the attribute `max_reply_tokens` (an int).
    """

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the model's reply to `messages`.

        Raises:
            ContextOverflowError: the conversation is too long for the model.
            ModelError: the server failed or refused, after the model's own retries.
        """
