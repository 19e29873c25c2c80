"""The chat model: one method. It knows nothing of servers, episodes or prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from metagym.ledger import Ledger
from metagym.models.charge import Charge
from metagym.models.context import max_tokens
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


async def ask(model: ChatModel, messages: Sequence[Message], call: Call) -> Completion:
    """Return the model's reply, and book the call in the open ledger; see `ChatModel.complete`.

    Raises:
        BudgetExceededError: the ledger's budget leaves no room for the call.
    """
    if getattr(model, "keeps_ledger", False):
        return await model.complete(messages, call)
    charge = Charge(
        call.role,
        arm=call.arm,
        meta_step=call.meta_step,
        model=type(model).__name__,
        prices=getattr(model, "prices", None),
        fallback=Ledger(),
    )
    await charge.reserve(max_tokens(messages), getattr(model, "max_reply_tokens", None))
    try:
        completion = await model.complete(messages, call)
    except BaseException as error:
        charge.unknown(f"{type(error).__name__}: {error}")
        raise
    charge.whole(completion.usage)
    return completion
