"""How close 64 episodes come to the no-barrier bound when the model's latency is heavy-tailed.

A real HTTP server, in a process of its own, answers each call after a lognormal delay (median 200 ms,
sigma 1) that follows from the call's seed. The *no-barrier bound* is the time of the slowest episode on
its own: the sum of its delays. The *lockstep* figure is what a runner would need that waits at each turn
for the slowest reply; it is computed from the same delays.

    python benchmarks/latency.py [--episodes 64] [--runs 3]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from multiprocessing.connection import Connection

import gymnasium as gym
import numpy as np

import metagym
from metagym.seeding import step_seed
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest

MEDIAN_S, SIGMA = 0.2, 1.0


def delay_s(seed: int) -> float:
    return float(MEDIAN_S * np.random.default_rng(seed).lognormal(0.0, SIGMA))


def respond(request: ServerRequest) -> ServerReply:
    return ServerReply("Thought: I always knock.\nAction: knock", delay_s=delay_s(request.body["seed"]))


def serve(pipe: Connection) -> None:
    with FakeOpenAIServer(respond) as server:
        pipe.send(server.base_url)
        pipe.recv()


def measure(base_url: str, num_episodes: int, seed: int) -> tuple[float, float, float, int]:
    """Return seconds of: the run, the no-barrier bound, lockstep; and the number of calls."""
    env = gym.make(
        "MetaGym/Gates-v0",
        actor={"model": "delayed", "base_url": base_url},
        episodes_per_step=num_episodes,
        max_concurrency=num_episodes,
    )
    _, info = env.reset(seed=seed)
    start = time.perf_counter()
    trajectories, *_ = env.step(info["default_prompt"])
    wall_s = time.perf_counter() - start
    env.close()
    delays = [[delay_s(step_seed(item.episode.seed, turn)) for turn in range(len(item.steps))] for item in trajectories]
    bound_s = max(map(sum, delays))
    turns = max(map(len, delays))
    lockstep_s = sum(max(row[turn] for row in delays if turn < len(row)) for turn in range(turns))
    return wall_s, bound_s, lockstep_s, sum(map(len, delays))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    base_url = ours.recv()
    measure(base_url, 2, seed=0)  # imports and connections
    print(f"metagym {metagym.__version__}, {arguments.episodes} episodes, lognormal {MEDIAN_S} s, sigma {SIGMA}")
    print(f"{'calls':>6} {'bound':>8} {'metagym':>8} {'/ bound':>8} {'lockstep / metagym':>20}")
    ratios = []
    for run in range(arguments.runs):
        wall_s, bound_s, lockstep_s, calls = measure(base_url, arguments.episodes, seed=run + 1)
        ratios.append(wall_s / bound_s)
        print(f"{calls:>6} {bound_s:>7.2f}s {wall_s:>7.2f}s {wall_s / bound_s:>8.3f} {lockstep_s / wall_s:>20.2f}")
    print(f"median ratio to the no-barrier bound: {np.median(ratios):.3f}")
    ours.send("stop")
    server.join()


if __name__ == "__main__":
    main()
