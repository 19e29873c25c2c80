"""Facts about a server, found by asking it once."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Final

from metagym.errors import ConversationError, ModelError, ModelUnavailableError
from metagym.models.server_replies import ReplyError
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


async def reply_or_refusal(
    asked: Awaitable[Completion], without_fields: Callable[[], Awaitable[Completion]]
) -> Completion | ModelError:
    """Return the reply to a request with fields, or the error by which the server refused them; raise every other.

    Some servers fail at a field that they do not know (500, or an error in a reply of status 200). That is a refusal if
    they answer a request `without_fields`.
    """
    try:
        return await asked
    except (ModelUnavailableError, ConversationError):
        raise
    except ModelError as error:
        status = _status_of(error.__cause__)
        if status is None or status in _AWAY:
            raise
        if status >= 500 or status == 200:
            await without_fields()
        return error


def _status_of(cause: object) -> int | None:
    """Return the status of the server's answer behind an error; None if it gave no answer in words."""
    if isinstance(cause, ReplyError):
        return None if cause.error is None else cause.error.status or 200
    return getattr(cause, "status_code", None)
