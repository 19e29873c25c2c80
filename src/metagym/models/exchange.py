"""One request to a server and its answer as bytes, within a limit of silence: all that touches HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from metagym.models.server_streams import is_whole_stream

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_ENDS = (b"\ndata: [DONE]", b"\ndata:[DONE]")
_AFTER_END_S = 1.0


class LateError(TimeoutError):
    """The server was silent for too long, or its reply took too long. The text is the remedy."""


class TimeLimits(NamedTuple):
    """The limits of one exchange, in seconds."""

    silence: float
    """Without a byte from the server, after the first one."""
    first_byte: float
    """Until the first byte of the reply: some servers send the head of their answer at once."""
    whole: float
    """For the whole answer, even if it never pauses."""


async def exchange(sdk: AsyncOpenAI, body: dict[str, Any], limits: TimeLimits) -> bytes:
    """Send a chat request, and return the whole answer as bytes, a stream or not.

    A stream that breaks after its end is whole. Every other failure is raised as the SDK, the HTTP library or the
    system raise it; a limit of time is a `LateError`.
    """
    now = asyncio.get_running_loop().time
    ends_at = now() + limits.whole
    task = asyncio.current_task()
    num_cancels = task.cancelling() if task else 0
    answer, is_complete = bytearray(), False
    try:
        async with asyncio.timeout(min(limits.first_byte, limits.whole)) as timer:
            opened = await sdk.post("/chat/completions", body=body, cast_to=object, stream=True, stream_cls=_opened())
            try:
                async for part in opened.response.aiter_bytes():
                    answer += part
                    # The connection ends right after the stream, or is not worth waiting for.
                    silence = _AFTER_END_S if answer[-32:].rstrip().endswith(_ENDS) else limits.silence
                    timer.reschedule(min(now() + silence, ends_at))
                is_complete = True
            finally:
                with contextlib.suppress(Exception):  # the reply is whole, or its own failure counts
                    await opened.response.aclose()
    except Exception as error:
        if task and task.cancelling() > num_cancels:  # the connection failed to close after the call was cancelled
            raise asyncio.CancelledError from error
        if is_complete or is_whole_stream(bytes(answer)):
            return bytes(answer)
        if timer.expired():
            raise LateError(_remedy(limits, is_begun=bool(answer), is_late=now() >= ends_at)) from error
        raise
    return bytes(answer)


def _remedy(limits: TimeLimits, *, is_begun: bool, is_late: bool) -> str:
    if is_late:
        return f"The reply took longer than {limits.whole:g} s: lower max_tokens, or raise client.reply_timeout_s."
    if is_begun:
        return f"It sent nothing for {limits.silence:g} s within a reply: check the server, or raise timeout_s."
    return f"It did not answer within {limits.first_byte:g} s: check the server, or raise timeout_s."


@functools.cache
def _opened() -> Any:
    """Return the class in which the SDK returns a response whose body is not read yet."""
    import openai

    class Opened(openai.AsyncStream[Any]):
        def __init__(self, *, response: Any, **rest: Any) -> None:
            self.response = response

    return Opened
