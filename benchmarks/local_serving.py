"""What MetaEnv leaves of a local server's speed: 64 episodes against the same requests sent by a bare client.

    python benchmarks/local_serving.py --model FILE.gguf [--worlds Gates,ALFWorld] [--episodes 64] [--rounds 2]

MetaEnv and a bare aiohttp client take turns at one llama.cpp server. The bare client sends the very requests of the
episodes that were played, with as many conversations in flight as the server has slots. Each turn puts another first
line into the system prompt, so that nobody finds the other's prompts in the cache. Replies are one action, held to the
list by a grammar: free ones of a small model are mostly not executed, and a conversation that does not grow has no
prefix to find in the cache. Tokens are those that the server
computed: replies, and prompts without what came from its cache. It needs the extras local and alfworld.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, cast

import aiohttp
import gymnasium
import numpy as np
from measuring import Row, median_ratio, note, run

from metagym import ChatActor, MetaEnv
from metagym.actor.chat import reply_form
from metagym.models import GGUFChatModel
from metagym.types import Trajectory, step_seed, sum_usage

WORLDS = {"Gates": ("MetaGym/Gates-v0", 10), "ALFWorld": ("MetaGym/ALFWorld-v0", 20)}
SLOTS, MAX_REPLY_TOKENS = 4, 24


class Speed(NamedTuple):
    """What one turn computed."""

    seconds: float
    sent: int
    cached: int
    replied: int

    @property
    def rate(self) -> float:
        return (self.sent - self.cached + self.replied) / self.seconds


def requests_of(actor: ChatActor, trajectory: Trajectory, number: int) -> list[dict[str, Any]]:
    """Return the requests of an episode, with another first line."""
    bodies = []
    for index, step in enumerate(trajectory.steps):
        messages = actor.messages(trajectory.episode.prompt, trajectory.steps[:index], step.observation)
        head = messages[0]["content"].partition("\n")[2]
        body = {"messages": [{"role": "system", "content": f"{first_line(number)}\n{head}"}, *messages[1:]]}
        form = reply_form("act", step.observation.available_actions, MAX_REPLY_TOKENS)
        stream = {"stream": True, "stream_options": {"include_usage": True}, "stop": ["\nObservation:"]}
        seed = step_seed(trajectory.episode.seed, index)
        bodies.append({**body, **stream, "grammar": form.grammar, "seed": seed, "max_tokens": MAX_REPLY_TOKENS})
    return bodies


def first_line(number: int) -> str:
    """Return a line that is as long, and differs from its first token on, for each number."""
    return f"{chr(ord('A') + number)}. Read this first."


async def ask(session: aiohttp.ClientSession, base_url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the usage of a reply; a request that fails is sent again, as MetaEnv's client does."""
    for _ in range(3):
        async with session.post(f"{base_url}/chat/completions", json=body) as answer:
            text = await answer.text()
        found = [json.loads(line[6:]).get("usage") for line in text.splitlines() if line.startswith("data: {")]
        if usages := [usage for usage in found if usage]:
            return usages[-1]
        note(f"The server answered {answer.status} without a usage: {text[:500]!r}")
    raise RuntimeError("The server failed three times at one request.")


async def send(base_url: str, conversations: list[list[dict[str, Any]]]) -> Speed:
    """Send the requests of each conversation one after another, `SLOTS` conversations at once."""
    queue, usages = deque(conversations), list[dict[str, Any]]()

    async def work() -> None:
        while queue:
            for body in queue.popleft():
                usages.append(await ask(session, base_url, body))

    start = time.perf_counter()
    connector = aiohttp.TCPConnector(force_close=True)  # llama.cpp closes a connection after a stream
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        await asyncio.gather(*(work() for _ in range(SLOTS)))
    cached = sum((usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0) for usage in usages)
    sent, replied = (sum(usage[name] for usage in usages) for name in ("prompt_tokens", "completion_tokens"))
    return Speed(time.perf_counter() - start, sent, cached, replied)


def take_turns(world: str, model: Path, episodes: int, rounds: int) -> list[Row]:
    """Return the rows of one world."""
    env_id, max_steps = WORLDS[world]
    server = GGUFChatModel(f"local:{model}", sampling={"max_tokens": MAX_REPLY_TOKENS})
    actor = ChatActor(server, constrain="auto", reply_format="act")
    options = {"episodes_per_step": episodes, "max_steps": max_steps, "allow_bad_batches": True}
    speeds: dict[str, list[Speed]] = {"MetaEnv": [], "bare": []}
    with closing(cast(MetaEnv, gymnasium.make(env_id, actor=actor, **options).unwrapped)) as env:
        (task,) = env.task_set.draw(1, rng=np.random.default_rng(0))
        env.replay(["This starts the server, and loads the world."], [task.id])
        for number in range(rounds):
            _, info = env.reset(seed=number)
            start = time.perf_counter()
            played = env.step(f"{first_line(2 * number)}\n{info['default_prompt']}")[0]
            seconds = time.perf_counter() - start
            usage = sum_usage(trajectory.usage for trajectory in played)
            own = Speed(seconds, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
            note(f"{world}, MetaEnv: {own.rate:.0f} tokens/s, {own}")
            conversations = [requests_of(actor, trajectory, 2 * number + 1) for trajectory in played]
            bare = asyncio.run(send(actor.model._server.base_url, conversations))  # type: ignore[attr-defined]
            note(f"{world}, bare: {bare.rate:.0f} tokens/s, {bare}")
            speeds["MetaEnv"].append(own)
            speeds["bare"].append(bare)
    ratio = median_ratio({name: [speed.rate for speed in found] for name, found in speeds.items()}, "MetaEnv", "bare")
    rows = [Row(f"{world}: tokens a second through MetaEnv, against the bare client", ratio, "", ">= 0.95")]
    for name, found in speeds.items():
        hits = sum(speed.cached for speed in found) / sum(speed.sent for speed in found)
        limit = ">= 90" if name == "MetaEnv" else ""
        rows.append(Row(f"{world}: prompt tokens from the cache, {name}", 100 * hits, "%", limit))
    return rows


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Measure in each world."""
    episodes = 8 if arguments.quick else arguments.episodes
    return [
        row
        for world in arguments.worlds.split(",")
        for row in take_turns(world, Path(arguments.model), episodes, 1 if arguments.quick else arguments.rounds)
    ]


if __name__ == "__main__":
    run(measure, __doc__, model="", worlds=",".join(WORLDS), episodes=64, rounds=2)
