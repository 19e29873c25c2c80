"""Calls per second through OpenAIChatModel, side by side with the bare SDK and with bare aiohttp.

One local server, in a process of its own, answers each call at once with the same short completion: in one piece, or
as a stream of `NUM_CHUNKS` chunks. The clients take turns at each concurrency, so that a busy machine disturbs all of
them; the best of `--rounds` counts. The bare SDK's retries are off, as ours are; it does not book, limit or bound its
calls.

    python benchmarks/client_throughput.py [--calls 1500] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

import aiohttp
import openai
from aiohttp import web

import metagym
from metagym.models import Call, ClientConfig, OpenAIChatModel

MESSAGES = [
    {"role": "system", "content": "You walk a road with four gates. " * 10},
    {"role": "user", "content": "You stand before the iron gate, the first of four. " * 5},
]
SAMPLING = {"temperature": 0.0, "max_tokens": 500}
HEAD = {"id": "chatcmpl-0", "created": 0, "model": "local"}
MESSAGE = {"role": "assistant", "content": "Thought: iron yields.\nAction: push"}
USAGE = {"prompt_tokens": 150, "completion_tokens": 9, "total_tokens": 159}
REPLY = json.dumps(
    {
        **HEAD,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()
NUM_CHUNKS = 40
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def events() -> Iterator[bytes]:
    head = {**HEAD, "object": "chat.completion.chunk"}
    choices = [{"index": 0, "delta": {"content": " iron"}, "finish_reason": None}] * NUM_CHUNKS
    for choice in (*choices, {"index": 0, "delta": {}, "finish_reason": "stop"}):
        yield b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"
    yield b"data: " + json.dumps({**head, "choices": [], "usage": USAGE}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


EVENTS = tuple(events())
Ask = Callable[[], Awaitable[object]]


def serve(pipe: Connection) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            return web.Response(body=REPLY, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in EVENTS:
            await response.write(event)
        return response

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        pipe.send(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        await asyncio.to_thread(pipe.recv)

    asyncio.run(main())


@asynccontextmanager
async def metagym_client(url: str, stream: bool) -> AsyncIterator[Ask]:
    model, seeds = OpenAIChatModel("local", base_url=url, client=ClientConfig(stream=stream)), itertools.count()
    yield lambda: model.complete(MESSAGES, Call("actor", seed=next(seeds)))  # type: ignore[arg-type]
    await model.aclose()


@asynccontextmanager
async def sdk_client(url: str, stream: bool, **options: object) -> AsyncIterator[Ask]:
    async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0, **options) as client:  # type: ignore[arg-type]
        body = {"model": "local", "messages": MESSAGES, "seed": 0, **SAMPLING}

        async def ask() -> object:
            if not stream:
                return await client.chat.completions.create(**body)
            parts = [
                chunk.choices[0].delta.content or "" if chunk.choices else ""
                async for chunk in await client.chat.completions.create(**body, **STREAM)
            ]
            return "".join(parts)

        yield ask


def sdk_aiohttp_client(url: str, stream: bool) -> object:
    return sdk_client(url, stream, http_client=openai.DefaultAioHttpClient())


@asynccontextmanager
async def aiohttp_client(url: str, stream: bool) -> AsyncIterator[Ask]:
    body = {"model": "local", "messages": MESSAGES, "seed": 0, **SAMPLING, **(STREAM if stream else {})}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1000)) as session:

        async def ask() -> object:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                return await response.read()

        yield ask


CLIENTS = {
    "metagym": metagym_client,
    "SDK, default": sdk_client,
    "SDK, aiohttp": sdk_aiohttp_client,
    "bare aiohttp": aiohttp_client,
}


async def measure(
    client: Callable[[str, bool], object], url: str, stream: bool, concurrency: int, num_calls: int
) -> float:
    """Return calls per second."""
    async with client(url, stream) as ask:  # type: ignore[attr-defined]
        await asyncio.gather(*(ask() for _ in range(concurrency)))  # connections stand
        left = iter(range(num_calls))

        async def worker() -> None:
            for _ in left:
                await ask()

        start = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return num_calls / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = ours.recv()
    print(f"metagym {metagym.__version__}, openai {openai.__version__}, calls/s, best of {arguments.rounds}")
    names = "".join(f"{name:>15}" for name in CLIENTS)
    for stream in (False, True):
        print(f"A stream of {NUM_CHUNKS} chunks" if stream else "In one piece")
        print(f"{'concurrency':>11}{names}{'/ SDK aiohttp':>15}{'/ default':>12}")
        for concurrency in (1, 8, 64, 256):
            best = dict.fromkeys(CLIENTS, 0.0)
            for _ in range(arguments.rounds):
                for name, client in CLIENTS.items():
                    num_calls = arguments.calls if concurrency > 1 else arguments.calls // 3
                    best[name] = max(best[name], asyncio.run(measure(client, url, stream, concurrency, num_calls)))
            ratios = best["metagym"] / best["SDK, aiohttp"], best["metagym"] / best["SDK, default"]
            print(f"{concurrency:>11}" + "".join(f"{rate:>15.0f}" for rate in best.values()), end="")
            print(f"{ratios[0]:>15.2f}{ratios[1]:>12.2f}")
    ours.send("stop")
    server.join()


if __name__ == "__main__":
    main()
