"""Facts about a server, found by asking it once."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Final

from metagym.errors import ConversationError, ModelError, ModelUnavailableError
from metagym.types import Completion

_AWAY: Final = frozenset({502, 503, 504})
"""Statuses of a server that could not answer: they say nothing about a field."""


class AskedOnce:
    """One word about a server. The first call asks for it; calls at the same time wait, and later ones know it."""

    def __init__(self, known: str | None = None) -> None:
        self._known = known
        self._locks: MutableMapping[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def get(self, ask: Callable[[], Awaitable[str]]) -> str:
        """Return the word; `ask` is awaited if it is not known. If that fails, the next call asks."""
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._known is None:
                self._known = await ask()
        return self._known


async def reply_or_refusal(asked: Awaitable[Completion]) -> Completion | ModelError:
    """Return the reply to a question, or the error by which the server refused it. Every other error is raised."""
    try:
        return await asked
    except (ModelUnavailableError, ConversationError):
        raise
    except ModelError as error:
        status = getattr(error.__cause__, "status_code", None)
        if status is None or status in _AWAY:
            raise
        return error
