"""A real HTTP server on loopback that speaks the OpenAI protocol, streams included."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from metagym.types import Message, Usage

_MAX_CHUNKS = 500


class ServerRequest(NamedTuple):
    """A request to a FakeOpenAIServer."""

    number: int
    """The number of requests before this one."""
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def messages(self) -> list[Message]:
        """The conversation."""
        return list(self.body["messages"])


class ServerReply(NamedTuple):
    """A reply of a FakeOpenAIServer, good or bad."""

    text: str = ""
    status: int = 200
    delay_s: float = 0.0
    """Seconds before the reply; with `math.inf` it is never sent."""
    headers: Mapping[str, str] = {}
    finish_reason: str = "stop"
    raw: str | None = None
    """Sent as the body instead of a completion."""
    cut: bool = False
    """Close the connection without an answer."""
    cut_after: int | None = None
    """Close the connection after this number of bytes of the body."""
    reasoning: str = ""
    """Sent as `reasoning_content`."""
    model: str | None = None
    """The model's name in the reply; by default the requested one."""
    says_usage: bool = True
    """Whether the reply reports the tokens used."""
    error: Mapping[str, Any] = {}
    """More fields of an error's body, such as `code` and `param`."""
    usage: Any = None
    """Reported instead of the tokens used; not counted in `delivered`."""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    """Calls of tools in the message, as the protocol has them."""
    choice_error: Mapping[str, Any] | None = None
    """An error inside the choice, under a status of success. In a stream it comes after half of the text."""
    streams: bool = True
    """Whether a stream is sent if it was asked for; else the reply comes in one piece."""
    chunk_delay_s: float = 0.0
    """Seconds before each chunk of a stream."""
    silent_after: int | None = None
    """Send nothing after this number of chunks, and keep the connection open."""
    stream_error: Mapping[str, Any] | None = None
    """An event with this error after half of the text; the stream then ends."""
    says_done: bool = True
    """Whether `[DONE]` ends a stream."""
    num_comments: int = 0
    """Comments before each chunk of a stream; servers send them to keep a connection open."""


Answer = Callable[[ServerRequest], str | ServerReply]


class FakeOpenAIServer:
    """A real HTTP server on loopback that speaks the OpenAI protocol, and replies as `respond` decides.

    `respond(request)` returns the reply's text, or a `ServerReply` with a status, a delay, a cut; `misbehave`
    makes a `respond` with faults. Use the server as a context manager. `base_url` is its address, `requests` lists
    all requests, `delivered` the tokens of the replies that were delivered whole: a provider would bill them.

    >>> with FakeOpenAIServer(lambda request: "Thought: easy\\nAction: knock") as server:
    ...     server.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, respond: Answer) -> None:
        self._respond = respond
        self._numbers = itertools.count()
        self.requests: list[ServerRequest] = []
        self.delivered: list[Usage] = []
        self.base_url = ""

    def __enter__(self) -> FakeOpenAIServer:
        started = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(started,), name="fake-openai", daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _main(self, started: threading.Event) -> None:
        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            app = web.Application(client_max_size=2**30)
            app.router.add_post("/v1/chat/completions", self._answer)
            app.router.add_get("/v1/models", self._list_models)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.base_url = f"http://{host}:{port}/v1"
            started.set()
            await self._stop.wait()
            await runner.cleanup()
            await asyncio.sleep(0.01)  # connections that the clients have left are closed in the loop's next turns

        asyncio.run(serve())

    async def _list_models(self, http_request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})

    async def _answer(self, http_request: web.Request) -> web.StreamResponse:
        request = ServerRequest(next(self._numbers), await http_request.json(), dict(http_request.headers))
        self.requests.append(request)
        try:
            return await self._send(http_request, request, as_reply(self._respond(request)))
        except ConnectionError:  # the client has gone
            return web.Response()

    async def _send(self, http_request: web.Request, request: ServerRequest, reply: ServerReply) -> web.StreamResponse:
        if reply.delay_s == math.inf:
            await self._stop.wait()
        elif reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        transport = http_request.transport
        if reply.cut and transport is not None:
            transport.close()
            return web.Response()
        if reply.raw is None and reply.status == 200 and reply.streams and request.body.get("stream"):
            return await self._stream(http_request, request, reply)
        body = _body(request, reply)
        if reply.cut_after is not None and transport is not None:
            begun = web.StreamResponse(headers={"Content-Length": str(len(body)), "Content-Type": "application/json"})
            await begun.prepare(http_request)
            await begun.write(body[: reply.cut_after])
            transport.close()
            return begun
        response = web.Response(body=body, status=reply.status, headers=reply.headers, content_type="application/json")
        if reply.raw is not None or reply.status != 200 or reply.choice_error or transport is None:
            return response
        if not transport.is_closing():
            await response.prepare(http_request)
            await self._deliver(request, reply, response.write_eof())
        return response

    async def _stream(
        self, http_request: web.Request, request: ServerRequest, reply: ServerReply
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **reply.headers})
        await response.prepare(http_request)
        chunks = list(_chunks(request, reply))
        num_bytes = 0
        for number, chunk in enumerate(chunks):
            if reply.chunk_delay_s:
                await asyncio.sleep(reply.chunk_delay_s)
            if number == reply.silent_after:
                await self._stop.wait()
            data = b": still here\n\n" * reply.num_comments + chunk
            transport = http_request.transport
            if transport is None or transport.is_closing():
                return response
            if reply.cut_after is not None and num_bytes + len(data) > reply.cut_after:
                await response.write(data[: reply.cut_after - num_bytes])
                transport.close()
                return response
            num_bytes += len(data)
            if number < len(chunks) - 1 or reply.stream_error or reply.choice_error:
                await response.write(data)
            else:
                await self._deliver(request, reply, response.write(data))
        return response

    async def _deliver(self, request: ServerRequest, reply: ServerReply, send: Awaitable[None]) -> None:
        delivery = _usage(request, reply)
        # Counted before it is sent, because the client may read the count at once; removed if the client has gone.
        self.delivered.append(delivery)
        try:
            await send
        except ConnectionError:
            self.delivered.remove(delivery)


def _body(request: ServerRequest, reply: ServerReply) -> bytes:
    if reply.raw is not None:
        return reply.raw.encode()
    if reply.status != 200:
        error = {"message": reply.text or f"fault {reply.status}", "type": "fault", "code": None, **reply.error}
        return json.dumps({"error": error}).encode()
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = list(reply.tool_calls)
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    if reply.choice_error:
        choice["error"] = dict(reply.choice_error)
    completion = {**_head(request, reply), "object": "chat.completion", "choices": [choice]}
    if reply.says_usage:
        completion["usage"] = _reported(request, reply)
    return json.dumps(completion).encode()


def _chunks(request: ServerRequest, reply: ServerReply) -> Iterator[bytes]:
    """Yield the events of a stream: a chunk for a word or more, the end, the usage if it was asked for, `[DONE]`."""
    head = {**_head(request, reply), "object": "chat.completion.chunk"}

    def event(choice: Mapping[str, Any] | None, **fields: Any) -> bytes:
        choices = [] if choice is None else [{"index": 0, "delta": {}, "finish_reason": None, **choice}]
        return b"data: " + json.dumps({**head, "choices": choices, **fields}).encode() + b"\n\n"

    yield event({"delta": {"role": "assistant", "content": ""}})
    deltas = [{"reasoning_content": word} for word in _words(reply.reasoning)]
    deltas += [{"content": word} for word in _words(reply.text)]
    for number, delta in enumerate(deltas):
        if number == len(deltas) // 2 and reply.stream_error is not None:
            yield b"data: " + json.dumps({"error": dict(reply.stream_error)}).encode() + b"\n\n"
            return
        if number == len(deltas) // 2 and reply.choice_error is not None:
            yield event({"error": dict(reply.choice_error)})
            return
        yield event({"delta": delta})
    if reply.tool_calls:
        yield event({"delta": {"tool_calls": [{"index": n, **call} for n, call in enumerate(reply.tool_calls)]}})
    yield event({"finish_reason": reply.finish_reason})
    if reply.says_usage and (request.body.get("stream_options") or {}).get("include_usage"):
        yield event(None, usage=_reported(request, reply))
    if reply.says_done:
        yield b"data: [DONE]\n\n"


def _head(request: ServerRequest, reply: ServerReply) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request.number}", "created": 0, "model": reply.model or request.body["model"]}


def _words(text: str) -> list[str]:
    words = re.findall(r"\s*\S+|\s+$", text)
    size = len(words) // _MAX_CHUNKS + 1
    return ["".join(words[start : start + size]) for start in range(0, len(words), size)]


def _reported(request: ServerRequest, reply: ServerReply) -> Any:
    if reply.usage is not None:
        return reply.usage
    usage = _usage(request, reply)
    counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
    return {**counts, "total_tokens": sum(counts.values())}


def _usage(request: ServerRequest, reply: ServerReply) -> Usage:
    if not reply.says_usage or reply.usage is not None:
        return Usage()
    num_prompt = sum(len((message.get("content") or "").split()) for message in request.messages)
    return Usage(prompt_tokens=num_prompt, completion_tokens=len(f"{reply.text} {reply.reasoning}".split()))


def as_reply(answer: str | ServerReply) -> ServerReply:
    """Return a text as a reply."""
    return ServerReply(answer) if isinstance(answer, str) else answer
