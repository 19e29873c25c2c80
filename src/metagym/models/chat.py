"""The chat model: one method. It knows nothing of servers, episodes or prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from metagym.types import Completion, Message


class Call(NamedTuple):
    """Who calls a model, and with which chance: what ledgers and caches key on."""

    role: str
    """`actor`, `reflector` or `judge`."""
    arm: str = ""
    meta_step: int = 0
    seed: int = 0
    """Feeds the sampling; sent to servers that take a seed."""
    repetition: int = 0


class ChatModel(Protocol):
    """Completes a conversation.

    An implementation keeps nothing between calls that changes a reply, so one object serves all
    concurrent episodes. Its calls are booked by `ask`; one that books its own attempts, retries among them,
    says so by `keeps_ledger = True`. `max_reply_tokens` (an int) is needed for a budget in tokens.
    """

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the model's reply to `messages`.

        Raises:
            ContextOverflowError: the conversation is too long for the model.
            ModelError: the server failed or refused, after the model's own retries.
        """
        ...
