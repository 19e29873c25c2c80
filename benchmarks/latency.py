"""How close episodes come to the no-barrier bound when the model's latency is heavy-tailed.

Each call takes a lognormal delay (sigma 1) that follows from its seed; 20 turns an episode. The server takes
any number of calls at once, or 8. The *no-barrier bound* is what no runner can beat: the slowest episode on its
own and, with 8 slots, the sum of all delays over 8. The *lockstep* runner below waits at each turn for the
slowest reply, as a vectorised environment does. Runs are interleaved.

    python benchmarks/latency.py [--quick] [--runs 3] [--http 1]

With `--http 1` the delays come from a real server in a process of its own, through the real client (64 episodes,
median 200 ms; no lockstep).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

import numpy as np
from echo import NUM_STEPS, REPLY, Echo, episodes
from measuring import Row, interleaved, median_ratio, run, wall_s

from metagym.actor import ChatActor
from metagym.models import Call, ChatModel, OpenAIChatModel
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from metagym.types import Completion, Episode, Message, Observation, Step, step_seed
from metagym.workers import LocalWorkers

SIGMA = 1.0
HTTP_MEDIAN_S = 0.2


def delay_s(seed: int, median_s: float) -> float:
    return float(median_s * np.random.default_rng(seed).lognormal(0.0, SIGMA))


class DelayedModel:
    """Answers after the call's delay; takes `slots` calls at once, the others queue."""

    keeps_ledger = True

    def __init__(self, median_s: float, slots: int | None) -> None:
        self.median_s, self.slots = median_s, slots
        self._free = asyncio.Semaphore(slots) if slots else contextlib.nullcontext()

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        async with self._free:
            await asyncio.sleep(delay_s(call.seed, self.median_s))
        return REPLY


def play_engine(batch: Sequence[Episode], model: ChatModel) -> None:
    async def main() -> None:
        config = RolloutConfig(max_steps=NUM_STEPS, max_concurrency=len(batch))
        actor = ChatActor(model)
        await RolloutEngine(actor, LocalWorkers(Echo), config=config).run(batch)
        await actor.aclose()

    asyncio.run(main())


def play_lockstep(batch: Sequence[Episode], model: ChatModel) -> None:
    """Ask for all actions of a turn, wait for the last one, then step all environments."""

    async def main() -> None:
        actor, envs = ChatActor(model), [Echo() for _ in batch]
        histories: list[list[Step]] = [[] for _ in batch]
        firsts = [env.reset(seed=episode.task.seed) for env, episode in zip(envs, batch, strict=True)]
        seen = [Observation(text=text, available_actions=info["available_actions"]) for text, info in firsts]
        for _ in range(NUM_STEPS):
            turns = zip(batch, histories, seen, strict=True)
            actions = await asyncio.gather(*(actor.act(*turn) for turn in turns))
            for index, (env, action) in enumerate(zip(envs, actions, strict=True)):
                text, reward, _, _, info = env.step(action.text or "")
                histories[index].append(
                    Step(observation=seen[index], action=action, command=action.text, is_valid=True, reward=reward)
                )
                seen[index] = Observation(text=text, available_actions=info["available_actions"])

    asyncio.run(main())


def bound_s(batch: Sequence[Episode], median_s: float, slots: int | None) -> float:
    delays = [sum(delay_s(step_seed(item.seed, turn), median_s) for turn in range(NUM_STEPS)) for item in batch]
    return max(max(delays), sum(delays) / slots if slots else 0.0)


def measure(arguments: argparse.Namespace) -> list[Row]:
    if arguments.http:
        return measure_http(1 if arguments.quick else arguments.runs)
    rows = []
    for slots, median_s in ((None, 0.05), (8, 0.03)):
        for count in (64,) if arguments.quick else (4, 16, 64):
            found: dict[str, list[float]] = {"engine": [], "lockstep": [], "bound": []}
            for number in range(1 if arguments.quick else arguments.runs):
                batch = episodes(count, seed=number + 1)
                once = interleaved(
                    {
                        "engine": lambda: wall_s(lambda: play_engine(batch, DelayedModel(median_s, slots))),  # noqa: B023
                        "lockstep": lambda: wall_s(lambda: play_lockstep(batch, DelayedModel(median_s, slots))),  # noqa: B023
                        "bound": lambda: bound_s(batch, median_s, slots),  # noqa: B023
                    },
                    runs=1,
                )
                found = {name: [*values, *once[name]] for name, values in found.items()}
            server = f"{slots} slots" if slots else "unlimited server"
            where = f"{count} episodes, {server}"
            within = ("<= 1.10" if slots else "<= 1.05") if count == 64 else ""
            least = ">= 3" if count == 64 and slots is None else ""
            ratio = median_ratio(found, "engine", "bound")
            rows.append(Row(f"engine / no-barrier bound, {where}", ratio, "", within, "", f"engine, {server}", count))
            ratio = median_ratio(found, "lockstep", "engine")
            rows.append(Row(f"lockstep / engine, {where}", ratio, "", least, "", f"lockstep, {server}", count))
    return rows


# Over HTTP ----------------------------------------------------------------------------------------------


def respond(request: ServerRequest) -> ServerReply:
    return ServerReply(REPLY.text, delay_s=delay_s(request.body["seed"], HTTP_MEDIAN_S))


def serve(pipe: Connection) -> None:
    with FakeOpenAIServer(respond) as server:
        pipe.send(server.base_url)
        pipe.recv()


@contextlib.contextmanager
def served() -> Iterator[str]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    yield ours.recv()
    ours.send("stop")
    process.join()


def measure_http(runs: int) -> list[Row]:
    ratios = []
    with served() as url:
        play_engine(episodes(2), OpenAIChatModel("delayed", base_url=url))  # imports
        for number in range(runs):
            batch = episodes(64, seed=number + 1)
            took_s = wall_s(lambda: play_engine(batch, OpenAIChatModel("delayed", base_url=url)))  # noqa: B023
            ratios.append(took_s / bound_s(batch, HTTP_MEDIAN_S, None))
    what = "engine / no-barrier bound, 64 episodes, over HTTP with the real client"
    return [Row(what, statistics.median(ratios), note="median 200 ms a call")]


if __name__ == "__main__":
    run(measure, __doc__, runs=3, http=0)
