"""How long a conversation is in tokens, and what is cut where it does not fit into the model's context."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.types import Message

BYTES_PER_TOKEN = 4
"""The usual estimate for English text."""
_MESSAGE_TOKENS, _TEMPLATE_TOKENS = 16, 128  # what chat templates add, generously


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Return about how many tokens the conversation has: four bytes each, and four more a message.

    >>> estimate_tokens([{"role": "user", "content": "x" * 400}])
    104
    """
    return sum(_num_bytes(message) // BYTES_PER_TOKEN + 4 for message in messages)


def max_tokens(messages: Sequence[Message]) -> int:
    """Return an upper bound of the conversation's tokens: no tokenizer gives a byte more than one token."""
    return sum(_num_bytes(message) + _MESSAGE_TOKENS for message in messages) + _TEMPLATE_TOKENS


def fit_messages(messages: list[Message], limit: int, *, known: tuple[int, int] | None = None) -> list[Message]:
    """Cut a conversation of alternating turns to about `limit` tokens.

    The system message, the first user message (with the goal and the first observation) and the last one
    stay. What is between is left out, the oldest first, up to a user message that then continues the first
    one, with a note of how many turns are missing. What has to stay is sent even where it does not fit:
    the server then says so.

    `known` is (estimated, counted): what `estimate_tokens` gave for an earlier conversation, and what the
    server counted for it. It corrects the estimate.
    """
    scale = known[1] / known[0] if known and known[0] and known[1] else 1.0
    sizes = [estimate_tokens([message]) * scale for message in messages]
    excess = sum(sizes) - limit
    first = next((index for index, message in enumerate(messages) if message["role"] == "user"), len(messages))
    kept = first  # the user message that continues the first one
    while excess > 0 and kept + 2 < len(messages):
        # The reply goes, and the observation before it, unless that is the first.
        excess -= sizes[kept + 1] + (sizes[kept] if kept > first else 0)
        kept += 2
    if kept == first:
        return messages
    note = f"[{(kept - first) // 2} turns are left out here.]"
    text = f"{messages[first]['content']}\n\n{note}\n\n{messages[kept]['content']}"
    return [*messages[:first], {"role": "user", "content": text}, *messages[kept + 1 :]]


def _num_bytes(message: Message) -> int:
    content = message["content"]
    return len(content) if content.isascii() else len(content.encode("utf-8", "surrogatepass"))
