"""Five thousand calls against a server that misbehaves in every way it knows: what is lost, and does it end?

Every fault of `metagym.testing.FAULTS` that does not end a run is switched on, each at `--rate`. At the end each
episode has either finished or says why it failed, and the ledger is held against what the server delivered whole.
Every call is reserved in a budget of tokens, calls and money. `--tokens` is the budget's limit: a small one ends the
soak before `--calls`, and no reply may pass it, whatever the server says of its usage.

    python benchmarks/soak.py [--calls 5000] [--rate 0.02] [--seed 0] [--tokens 1000000000]
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter

import gymnasium as gym

import metagym
from metagym.errors import BudgetExceededError, EpisodesFailedError
from metagym.testing import FAULTS, FINAL_FAULTS, FakeOpenAIServer, ServerReply, ServerRequest, misbehave

WAYS = ("knock", "push", "pull", "sing", "whistle", "wait")
PRICES = {"prompt": 1.0, "completion": 4.0}
CLIENT = {"first_pause_s": 0.02, "max_pause_s": 0.5, "breaker_s": 10.0, "max_concurrency": 64, "prices": PRICES}
REPLY_TOKENS = 200
LIMITED = ("huge reply",)
"""Faults that a budget cannot bound: the server ignores the limit of a reply."""


def respond(request: ServerRequest) -> str:
    return f"Thought: let me try.\nAction: {WAYS[request.body['seed'] % len(WAYS)]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--retries", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=10**9)
    parser.add_argument("--timeout", type=float, default=10.0, help="a busy machine that is later counts as silent")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the log would be as long as the soak
    left_out = {*FINAL_FAULTS, *(LIMITED if arguments.tokens < 10**9 else ())}
    faulty = misbehave(respond, {name: arguments.rate for name in FAULTS if name not in left_out}, seed=arguments.seed)
    num_paid = 0

    def counted(request: ServerRequest) -> ServerReply:
        nonlocal num_paid
        reply = faulty(request)
        if reply.status == 200 and not reply.raw:  # the provider bills it, delivered or not
            num_paid += len(" ".join([*(item["content"] for item in request.messages), reply.text]).split())
        return reply

    start = time.perf_counter()
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    num_steps = 0
    with FakeOpenAIServer(counted) as server:
        env = gym.make(
            "MetaGym/Gates-v0",
            max_episode_steps=10_000,
            episodes_per_step=64,
            max_failure_rate=0.99,
            budget={"tokens": arguments.tokens, "calls": 10**6, "cost": 10**6},
            actor={
                "model": "soaked",
                "base_url": server.base_url,
                "timeout_s": arguments.timeout,
                "max_retries": arguments.retries,
                "sampling": {"max_tokens": REPLY_TOKENS},
                "client": CLIENT,
            },
        )
        _, info = env.reset(seed=arguments.seed)
        while len(server.requests) < arguments.calls:
            is_spent = False
            try:
                trajectories, *_ = env.step(info["default_prompt"])
            except (EpisodesFailedError, BudgetExceededError) as error:
                is_spent = isinstance(error, BudgetExceededError)
                trajectories = error.meta_step.trajectories if error.meta_step else ()
            for trajectory in trajectories:
                outcomes[trajectory.stop_reason.value] += 1
                num_steps += len(trajectory.steps)
                if trajectory.score is None:
                    assert trajectory.error, "a failed episode must say why"
                    reasons[trajectory.error.split(", got ")[-1][:60]] += 1
            if is_spent:
                break
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
    print(f"budget of {arguments.tokens:,} tokens: booked {spent.max_tokens:,} at most, the server used {num_paid:,}")
    print(f"retries {spent.num_retries}, waiting {spent.waiting_s:.1f} s, working {spent.working_s:.1f} s (summed)")
    assert all(ours == theirs for ours, theirs in pairs.values()), "the ledger and the server differ"
    assert num_paid <= spent.max_tokens <= arguments.tokens, "the budget was passed"


if __name__ == "__main__":
    main()
