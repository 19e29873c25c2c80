"""Five thousand calls against a server that misbehaves in every way it knows: what is lost, and does it end?

Every fault of `metagym.testing.FAULTS` that does not end a run is switched on, each at `--rate`. At the end each
episode has either finished or says why it failed, and the ledger is held against what the server delivered whole.

    python benchmarks/soak.py [--calls 5000] [--rate 0.02] [--seed 0]
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter

import gymnasium as gym

import metagym
from metagym.errors import EpisodesFailedError
from metagym.testing import FAULTS, FINAL_FAULTS, FakeOpenAIServer, ServerRequest, misbehave

WAYS = ("knock", "push", "pull", "sing", "whistle", "wait")
CLIENT = {"first_pause_s": 0.02, "max_pause_s": 0.5, "breaker_s": 10.0, "max_concurrency": 64}


def respond(request: ServerRequest) -> str:
    return f"Thought: let me try.\nAction: {WAYS[request.body['seed'] % len(WAYS)]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--retries", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the log would be as long as the soak
    faulty = misbehave(
        respond, {name: arguments.rate for name in FAULTS if name not in FINAL_FAULTS}, seed=arguments.seed
    )
    start = time.perf_counter()
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    num_steps = 0
    with FakeOpenAIServer(faulty) as server:
        env = gym.make(
            "MetaGym/Gates-v0",
            max_episode_steps=10_000,
            episodes_per_step=64,
            max_failure_rate=0.99,
            actor={
                "model": "soaked",
                "base_url": server.base_url,
                "timeout_s": 1.0,
                "max_retries": arguments.retries,
                "client": CLIENT,
            },
        )
        _, info = env.reset(seed=arguments.seed)
        while len(server.requests) < arguments.calls:
            try:
                trajectories, *_ = env.step(info["default_prompt"])
            except EpisodesFailedError as error:
                trajectories = error.meta_step.trajectories if error.meta_step else ()
            for trajectory in trajectories:
                outcomes[trajectory.stop_reason.value] += 1
                num_steps += len(trajectory.steps)
                if trajectory.score is None:
                    assert trajectory.error, "a failed episode must say why"
                    reasons[trajectory.error.split(", got ")[-1][:60]] += 1
        ledger = env.unwrapped.ledger
        spent = ledger.spent()
        env.close()
        delivered = [item for item in server.delivered if item.prompt_tokens]
        silent_on_usage = len(server.delivered) - len(delivered)
        num_requests, num_streams = len(server.requests), sum("stream" in item.body for item in server.requests)
    wall_s = time.perf_counter() - start
    print(f"metagym {metagym.__version__}: {num_requests} requests, {wall_s:.1f} s, faults at {arguments.rate:.0%}")
    print(f"{num_streams} of the requests asked for a stream")
    print(f"faults played: {dict(sorted(faulty.counts.items()))}")
    print(f"episodes: {dict(outcomes)}; steps kept: {num_steps}")
    print(f"why episodes failed: {dict(reasons.most_common(8))}")
    pairs = {
        "calls delivered whole": (spent.usage.num_calls, len(delivered)),
        "prompt tokens": (spent.usage.prompt_tokens, sum(item.prompt_tokens for item in delivered)),
        "completion tokens": (spent.usage.completion_tokens, sum(item.completion_tokens for item in delivered)),
        "delivered, tokens not given": (
            sum(attempt.reason.startswith("the server did not count") for attempt in ledger.unknown),
            silent_on_usage,
        ),
        "replies in the records": (num_steps, len(server.delivered)),
        "attempts": (spent.usage.num_calls + spent.num_refused + spent.num_unknown, num_requests),
    }
    print(f"{'':28}{'ledger':>12}{'server':>12}")
    for name, (ours, theirs) in pairs.items():
        print(f"{name:28}{ours:>12,}{theirs:>12,}{'' if ours == theirs else '   DIFFERS'}")
    kinds = Counter(attempt.reason.split(":")[0] for attempt in ledger.unknown)
    print(f"cost unknown: {spent.num_unknown} calls, at most {spent.unknown_tokens:,} tokens: {dict(kinds)}")
    print(f"retries {spent.num_retries}, waiting {spent.waiting_s:.1f} s, working {spent.working_s:.1f} s (summed)")
    assert all(ours == theirs for ours, theirs in pairs.values()), "the ledger and the server differ"


if __name__ == "__main__":
    main()
