"""One call to a fake server, for the tests of the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from metagym import OpenAIChatModel
from metagym.models import Call
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from metagym.types import Completion, Message

MESSAGES: list[Message] = [{"role": "system", "content": "Be brave."}, {"role": "user", "content": "A door."}]
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
CALL = Call(role="actor", seed=1234)


def complete(model: OpenAIChatModel, messages: Sequence[Message] = MESSAGES, call: Call = CALL) -> Completion:
    async def ask() -> Completion:
        try:
            return await model.complete(messages, call)
        finally:
            await model.aclose()

    return asyncio.run(ask())


def model_at(server: FakeOpenAIServer, **options: Any) -> OpenAIChatModel:
    return OpenAIChatModel("m", base_url=server.base_url, **options)


def completion_body(**changes: Any) -> str:
    message = {"role": "assistant", "content": "ok"}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    return json.dumps({**body, **changes})


class Then:
    """Answers with each reply in turn, the last one again and again."""

    def __init__(self, *replies: str | ServerReply) -> None:
        self.replies = replies

    def __call__(self, request: ServerRequest) -> str | ServerReply:
        return self.replies[min(request.number, len(self.replies) - 1)]


USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def sse(*events: Any, done: bool = True, end: str = "\n\n") -> str:
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event)}" for event in events]
    return "".join(line + end for line in (*lines, *(["data: [DONE]"] if done else [])))


def chunk(content: str = "", finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish, **fields}]}


ENDED = (chunk("ok", "stop"), {"choices": [], "usage": USAGE})
